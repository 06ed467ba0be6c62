/** Beginnings to choose from. */

export const BEGINNINGS: readonly string[] = [
  "be me, 8 years old",
  "be a small frog",
  "be grandma",
  "be me, late for the bus",
  "be dog",
  "be me, first day at school",
  "be a very old tree",
  "be the moon",
  "be me, in the rain",
  "be a cat in a box",
  "be the baker",
  "be me, find a wet kitten",
  "be a snow man",
  "be dad, lost his hat",
  "be me, my birthday",
  "be a shy ghost",
  "be a train driver",
  "be me, cannot sleep",
  "be a lost red boot",
  "be the last cookie",
];

export const TAGLINES: readonly string[] = [
  "a small model says kind things",
  "be nice, be me",
  "mfw somebody waited for the bus with me",
  "thank you, bus driver",
  "all stories are fictional and so is the model",
  "no account, no adverts, one frog",
  "six layers deep and it means well",
  "the only board your grandma rates",
  "written on a processor, by a processor",
  "seven megabytes of good will",
  "press w, get a story",
  "it has read 21,212 stories about Lily",
];

/** One of them, another than last time if there are several. */
export function pick<T>(from: readonly T[], last: T | null = null, random: () => number = Math.random): T {
  const others = from.length > 1 ? from.filter((one) => one !== last) : from;
  const one = others[Math.floor(random() * others.length)];
  if (one === undefined) throw new RangeError("nothing to pick from");
  return one;
}
