/** What lives as long as the page: what is kept, what is being written, what the service has; and what people do. */

import { createContext, useContext } from "react";

import type { ModelInfo, Opinion, Sampling } from "./contract.ts";
import type { Post, PostKind, Wish } from "./keep/thread.ts";
import { Threads, storageOf } from "./keep/threads.ts";
import { type Failure, asFailure, inWords, keepsNothing } from "./net/failure.ts";
import { pauseBefore } from "./net/retry.ts";
import * as service from "./net/service.ts";
import { go } from "./routes.ts";
import { SettingsStore } from "./settings.ts";
import { Store } from "./store.ts";
import { counted } from "./text/dates.ts";
import { beginningOf, promptAfterLine, spoken, wordsIn } from "./text/lines.ts";
import { type Again } from "./write/again.ts";
import { BEGINNINGS, pick } from "./write/beginnings.ts";
import { samplingOf } from "./write/sampling.ts";
import { drawSeed } from "./write/seeds.ts";
import { Writer, modelNamed } from "./write/writer.ts";

/** Where a post stands: in a thread of this browser, or in a view that fetched it. */
export interface Place {
  thread: string | null;
  change: (fields: Partial<Post>) => void;
  removed: () => void;
}

export interface ModelsState {
  list: ModelInfo[] | null;
  /** Why they are not there yet, and when they are asked for again. */
  failure: Failure | null;
  untilMs: number;
  /** Whether somebody waits for them to write. */
  wanted: boolean;
}

/** What people are told: seen for a while (`n` tells two of the same words apart), and read aloud. */
export interface Said {
  text: string;
  n: number;
}

const SESSION_PATIENCE_MS = 3000;
const MODELS_PATIENCE_TRIES = 4;

export class Space {
  readonly settings: SettingsStore;
  readonly threads: Threads;
  readonly writer: Writer;
  readonly models = new Store<ModelsState>({ list: null, failure: null, untilMs: 0, wanted: false });
  readonly said = new Store<Said>({ text: "", n: 0 });
  readonly aloud = new Store<Said>({ text: "", n: 0 });
  readonly draft = new Store<{ text: string; last: string | null }>({ text: "", last: null });
  /** False once the service has said that it keeps nothing. */
  readonly keeping = new Store<{ kept: boolean }>({ kept: true });
  #session = false;
  #loading: Promise<ModelInfo[]> | null = null;
  #skipWait: (() => void) | null = null;

  constructor() {
    const keeper = storageOf(() => localStorage);
    this.settings = new SettingsStore(keeper);
    this.threads = new Threads(keeper);
    this.writer = new Writer({
      threads: this.threads,
      hurry: () => document.hidden || matchMedia("(prefers-reduced-motion: reduce)").matches,
      beforeWriting: () => this.#openSession(),
      ended: (post) => {
        this.#tell(post);
      },
    });
    this.writer.state.subscribe(() => {
      const { phase } = this.writer.state.get();
      if (phase.name === "waiting") this.speak(`${inWords(phase.failure)} It is tried again by itself.`);
    });
  }

  // ------------------------------------------------------------------------------------------- telling

  say(text: string): void {
    this.said.set({ text, n: this.said.get().n + 1 });
  }

  /** For who listens; who looks on sees it anyway. */
  speak(text: string): void {
    if (text !== this.aloud.get().text) this.aloud.set({ text, n: this.aloud.get().n + 1 });
  }

  #tell(post: Post): void {
    const words = counted(wordsIn(post.text) - wordsIn(post.prompt ?? ""), "word");
    const failure = this.writer.state.get().failures[post.key];
    if (post.state === "done") this.speak(`Written: ${spoken(post.text)}.`);
    else if (post.state === "stopped") this.speak(`Stopped after ${words}: ${spoken(post.text)}.`);
    else if (post.state === "lost")
      this.speak(`The connection was lost after ${words}. It can go on from there.`);
    else if (failure) this.speak(inWords(failure));
  }

  // -------------------------------------------------------------------------------------------- models

  /** All models, asked for until they come. */
  loadModels(): Promise<ModelInfo[]> {
    this.#loading ??= this.#askForModels();
    return this.#loading;
  }

  /** The same, anew: a model may have come or gone. */
  async refreshModels(): Promise<void> {
    if (this.models.get().list === null) await this.loadModels();
    else
      try {
        this.models.set({ list: await service.models() });
      } catch (error) {
        asFailure(error); // what is known still holds
      }
  }

  tryNow(): void {
    this.#skipWait?.();
    this.writer.tryNow();
  }

  async #askForModels(): Promise<ModelInfo[]> {
    for (let tries = 1; ; tries += 1)
      try {
        const list = await service.models();
        this.models.set({ list, failure: null, wanted: false });
        return list;
      } catch (error) {
        const failure = asFailure(error);
        // Nothing can be done without them: whatever it is, it is tried again.
        const pauseS = pauseBefore(failure, Math.min(tries, MODELS_PATIENCE_TRIES)) ?? 15;
        this.models.set({ failure, untilMs: Date.now() + pauseS * 1000 });
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, pauseS * 1000);
          this.#skipWait = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
  }

  /** The model that is chosen, or the default where that one is not there (any more). */
  model(list: readonly ModelInfo[]): ModelInfo | null {
    return modelNamed(list, this.settings.get().model) ?? modelNamed(list, null) ?? list[0] ?? null;
  }

  // ------------------------------------------------------------------------------------------- writing

  /** A text in a thread of its own, with what stands in the field as its beginning. */
  async writeOne(typed = this.draft.get().text): Promise<void> {
    const wish = await this.#wish(beginningOf(typed), "op", null);
    if (wish) this.writer.start(wish);
  }

  async roll(): Promise<void> {
    const text = pick(BEGINNINGS, this.draft.get().last);
    this.draft.set({ text, last: text });
    await this.writeOne(text);
  }

  /** The same beginning, another seed. */
  async retry(post: Post, place: Place): Promise<void> {
    const wish = await this.#wish(post.prompt ?? "", "retry", place.thread === null ? null : post.key, true);
    if (wish) this.#follow(wish, place);
  }

  async continueFrom(post: Post, line: number, place: Place): Promise<void> {
    const prompt = promptAfterLine(post.text, line);
    const wish = await this.#wish(prompt, "continuation", place.thread === null ? null : post.key);
    if (wish) this.#follow(wish, place);
  }

  /** What a link asks for; `model` where another than the link's is to write it. */
  again(again: Again, model: ModelInfo): { thread: string; key: string } {
    return this.writer.start(
      {
        model: model.name,
        edition: model.edition ?? null,
        seed: again.seed,
        prompt: again.prompt,
        sampling: again.sampling,
        kind: "op",
        parent: null,
      },
      { fleeting: true },
    );
  }

  #follow(wish: Wish, place: Place): void {
    if (place.thread === null) {
      this.writer.start({ ...wish, kind: "op" });
      go({ name: "write" });
    } else {
      const fleeting = this.threads.find(place.thread)?.fleeting === true;
      this.writer.reply(place.thread, wish);
      if (fleeting) go({ name: "thread", id: place.thread });
    }
  }

  async #wish(prompt: string, kind: PostKind, parent: string | null, newSeed = false): Promise<Wish | null> {
    let { list } = this.models.get();
    this.say("");
    if (list === null) {
      this.models.set({ wanted: true });
      list = await this.loadModels();
    }
    const model = this.model(list);
    if (!model) {
      this.say("There is no model here that could write.");
      return null;
    }
    const { seed } = this.settings.get();
    return {
      model: model.name,
      edition: model.edition ?? null,
      seed: newSeed || seed === null ? drawSeed() : seed,
      prompt,
      sampling: this.sampling(model),
      kind,
      parent,
    };
  }

  sampling(model: ModelInfo): Sampling {
    return samplingOf(model.default_sampling, this.settings.get().sampling);
  }

  /** Once, before the first text: so that it can be rated, shown and deleted later. Writing waits for it only shortly. */
  async #openSession(): Promise<void> {
    if (this.#session) return;
    const opening = service.openSession().then(
      (kept) => {
        this.#session = true;
        this.keeping.set({ kept });
      },
      () => undefined,
    );
    await Promise.race([opening, new Promise((resolve) => setTimeout(resolve, SESSION_PATIENCE_MS))]);
  }

  // ---------------------------------------------------------------------------- what is done with posts

  async rate(post: Post, opinion: Opinion, place: Place): Promise<void> {
    if (post.id === null) return;
    const rating = post.rating === opinion ? null : opinion;
    place.change({ rating });
    try {
      const answer = await service.rate(post.id, rating);
      if (answer.saved) place.change({ good: answer.good, bad: answer.bad });
      else this.say("Noted. What is kept cannot be reached now; your rating waits for it.");
      if (answer.saved) this.speak(rating === null ? "Rating taken back." : `Rated ${rating}.`);
    } catch (error) {
      place.change({ rating: post.rating });
      this.#couldNot("Not rated", asFailure(error), place);
    }
  }

  async share(post: Post, shared: boolean, place: Place): Promise<void> {
    if (post.id === null) return;
    try {
      const answer = await service.share(post.id, shared);
      if (answer.saved === false) {
        place.change({ shared });
        this.say("Noted. What is kept cannot be reached now; it is done when it can.");
        return;
      }
      place.change({ shared: answer.shared, onBoard: answer.on_board });
      if (!shared) this.say("It is off the board.");
      else if (answer.on_board) this.say("It is on the board, for all to see.");
      else this.say(`The board does not take it${answer.reason ? `: ${answer.reason}` : "."}`);
    } catch (error) {
      this.#couldNot(shared ? "Not put on the board" : "Not taken off the board", asFailure(error), place);
    }
  }

  /** Here at once; and there, where it may have been kept. */
  async deletePost(post: Post, place: Place): Promise<void> {
    if (this.writer.state.get().key === post.key) this.writer.stop();
    if (place.thread !== null) place.removed();
    if (post.id === null || !post.mine || !this.keeping.get().kept) {
      this.say("Deleted.");
      return;
    }
    try {
      await service.remove(post.id);
      place.removed();
      this.say("Deleted, here and on the service.");
    } catch (error) {
      const why = inWords(asFailure(error));
      this.say(
        place.thread === null ? `Not deleted. ${why}` : `Deleted here, but not on the service. ${why}`,
      );
    }
  }

  async deleteThread(id: string): Promise<void> {
    const ids = this.threads.find(id)?.posts.flatMap((post) => post.id ?? []) ?? [];
    if (this.writer.state.get().thread === id) this.writer.stop();
    this.threads.removeThread(id);
    if (!this.keeping.get().kept) {
      this.say("Thread deleted.");
      return;
    }
    try {
      for (const one of ids) await service.remove(one);
      this.say("Thread deleted, here and on the service.");
    } catch (error) {
      this.say(`Thread deleted here, but not all of it on the service. ${inWords(asFailure(error))}`);
    }
  }

  async forgetEverything(): Promise<void> {
    this.writer.stop();
    this.threads.forgetAll();
    this.settings.forget();
    this.draft.set({ text: "", last: null });
    try {
      await service.forgetSession();
      this.#session = false;
      this.say("Everything is forgotten, here and on the service.");
    } catch (error) {
      const failure = asFailure(error);
      if (failure.kind === "missing") this.say("Everything is forgotten here; the service keeps nothing.");
      else this.say(`Forgotten here. The service could not be told: ${inWords(failure)} Try it again later.`);
    }
  }

  #couldNot(what: string, failure: Failure, place: Place): void {
    switch (failure.kind) {
      case "gone":
        this.say(`${what}: the text was deleted.`);
        if (place.thread !== null) place.change({ id: null });
        break;
      case "missing":
        this.say(
          keepsNothing(failure)
            ? `${what}: nothing is kept here.`
            : `${what}: the service does not keep this text (any more).`,
        );
        if (keepsNothing(failure)) this.keeping.set({ kept: false });
        break;
      case "starting":
        this.say(`${what}: what is kept cannot be reached now. Writing goes on; try this again in a while.`);
        break;
      case "full":
        this.say(`${what}: that was too often. Try again in ${counted(failure.retryAfterS ?? 5, "second")}.`);
        break;
      case "broken":
      case "unreachable":
      case "lost":
      case "unknown-model":
      case "refused":
        this.say(`${what}. ${inWords(failure)}`);
    }
  }
}

export const SpaceContext = createContext<Space | null>(null);

export function useSpace(): Space {
  const space = useContext(SpaceContext);
  if (!space) throw new Error("outside the page");
  return space;
}
