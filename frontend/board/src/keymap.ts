/** Every key, once: key handling, the help sheet and the buttons' hints are all made from this. */

export type Command =
  | "write"
  | "roll"
  | "stop"
  | "retry"
  | "continue"
  | "good"
  | "bad"
  | "copy"
  | "next"
  | "previous"
  | "home"
  | "threads"
  | "board"
  | "help";

export interface Binding {
  command: Command;
  keys: string[];
  does: string;
  about: "writing" | "posts" | "page";
}

export const BINDINGS: readonly Binding[] = [
  { command: "write", keys: ["w", "Enter"], does: "Write one", about: "writing" },
  {
    command: "roll",
    keys: ["d"],
    does: "Roll the die: write one with a beginning by chance",
    about: "writing",
  },
  { command: "stop", keys: ["Escape"], does: "Stop; what is there stays", about: "writing" },
  { command: "retry", keys: ["r"], does: "Retry: the same beginning, another text", about: "posts" },
  { command: "continue", keys: ["c"], does: "Continue from a line: arrows, then Enter", about: "posts" },
  { command: "good", keys: ["g"], does: "Good", about: "posts" },
  { command: "bad", keys: ["b"], does: "Bad", about: "posts" },
  { command: "copy", keys: ["y"], does: "Copy the text", about: "posts" },
  { command: "next", keys: ["j"], does: "Next post", about: "posts" },
  { command: "previous", keys: ["k"], does: "Previous post", about: "posts" },
  { command: "home", keys: ["1"], does: "Write", about: "page" },
  { command: "threads", keys: ["2"], does: "Your threads", about: "page" },
  { command: "board", keys: ["3"], does: "The board", about: "page" },
  { command: "help", keys: ["?"], does: "This sheet", about: "page" },
];

export const GROUPS: Record<Binding["about"], string> = {
  writing: "Writing",
  posts: "The post at hand (where you are, else the newest)",
  page: "The page",
};

interface Press {
  key: string;
  ctrlKey: boolean;
  metaKey: boolean;
  altKey: boolean;
  repeat?: boolean;
}

/** What is focused, as far as keys are concerned. */
export type Focus = "page" | "control" | "field";

/** What a key does; nothing with Ctrl, Alt or ⌘, nothing while somebody types but Escape. */
export function commandFor(press: Press, focus: Focus, letters = true): Command | null {
  if (press.ctrlKey || press.metaKey || press.altKey || press.repeat) return null;
  const found = BINDINGS.find(({ keys }) => keys.includes(press.key));
  if (!found) return null;
  if (found.command === "stop") return "stop";
  if (focus === "field" || !letters) return null;
  // On a button or a link, Enter is theirs.
  if (press.key === "Enter" && focus === "control") return null;
  return found.command;
}

export function spelled(key: string): string {
  return key === "Escape" ? "Esc" : key;
}

export function keyOf(command: Command): string {
  return BINDINGS.find((binding) => binding.command === command)?.keys[0] ?? "";
}
