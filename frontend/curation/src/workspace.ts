/**
 * Everything that lives as long as somebody is signed in: what waits for the server, what is kept here, how far along
 * the work is, and what to tell.
 */

import type { Action, Facets, Progress, Session } from "./contract.ts";
import { Desk } from "./desk/desk.ts";
import { LocalDrafts } from "./keep/local-drafts.ts";
import { Outbox, type StuckDecision } from "./keep/outbox.ts";
import type { Api } from "./net/api.ts";
import { Connection } from "./net/connection.ts";
import { Courier } from "./net/courier.ts";
import type { Tab } from "./net/tab.ts";
import { Store } from "./store.ts";

export interface WorkspaceState {
  reached: boolean;
  /** The session ended: everything goes on here, and nothing is sent. */
  signedOut: boolean;
  /** Decisions that the server has not answered yet. */
  waiting: number;
  stuck: StuckDecision[];
  progress: Progress | null;
  facets: Facets | null;
  /** The newest thing to tell; `stamp` tells two with the same words apart. */
  said: { text: string; alarm: boolean; stamp: number };
  /** The browser keeps local copies. */
  keeps: boolean;
}

const PROGRESS_EVERY_MS = 20_000;
const QUEUE_AFTER = {
  accept: "accepted",
  reject: "rejected",
  skip: "skipped",
  reopen: "todo",
  save: null,
} as const;

export class Workspace {
  readonly state = new Store<WorkspaceState>({
    reached: true,
    signedOut: false,
    waiting: 0,
    stuck: [],
    progress: null,
    facets: null,
    said: { text: "", alarm: false, stamp: 0 },
    keeps: true,
  });
  readonly api: Api;
  readonly tab: Tab;
  readonly person: string;
  readonly outbox: Outbox;
  readonly drafts: LocalDrafts;
  readonly courier: Courier;
  readonly desk: Desk;
  readonly #connection: Connection;
  #progressTimer: ReturnType<typeof setInterval> | undefined;

  constructor(api: Api, session: Session, tab: Tab) {
    this.api = api;
    this.tab = tab;
    this.person = session.person ?? "";
    const store = session.store ?? "store";
    this.outbox = new Outbox(localStorage, store, this.person);
    this.drafts = new LocalDrafts(localStorage, store, this.person);
    this.courier = new Courier(this.outbox, api, tab);
    this.#connection = new Connection(() => api.session());
    this.desk = new Desk(this, session.tab_lease_s);
  }

  start(): void {
    this.api.person = this.person;
    this.api.onReach = (reached) => {
      this.#connection.tell(reached);
    };
    this.api.onSignedOut = () => {
      this.state.set({ signedOut: true });
    };
    this.#connection.onChange = (reached) => {
      this.state.set({ reached });
      if (reached) this.#resume();
    };
    this.courier.onOutcome = (outcome, awaited) => {
      this.recount();
      this.desk.onOutcome(outcome, awaited);
      if (outcome.kind !== "refused") void this.refreshProgress();
    };
    this.recount();
    this.courier.start();
    this.#resume();
    this.#progressTimer = setInterval(() => {
      void this.refreshProgress();
      void this.courier.wake();
    }, PROGRESS_EVERY_MS);
    this.desk.start();
  }

  stop(): void {
    clearInterval(this.#progressTimer);
    this.courier.stop();
    this.#connection.stop();
    this.desk.stop();
  }

  /** Signed in again as the same person. */
  signedIn(): void {
    this.state.set({ signedOut: false });
    this.#resume();
  }

  say(text: string, alarm = false): void {
    this.state.set({ said: { text, alarm, stamp: this.state.get().said.stamp + 1 } });
  }

  recount(): void {
    this.state.set({ waiting: this.outbox.entries().length, stuck: this.outbox.stuck() });
  }

  /** What a decision does to the counts, until the server tells them. */
  foresee(action: Action, from: keyof Progress): void {
    const { progress } = this.state.get();
    const to = QUEUE_AFTER[action];
    if (!progress || to === null || to === from) return;
    const left = progress[from];
    this.state.set({
      progress: {
        ...progress,
        ...(typeof left === "number" ? { [from]: left - 1 } : {}),
        [to]: progress[to] + 1,
      },
    });
  }

  async refreshProgress(): Promise<void> {
    try {
      this.state.set({ progress: await this.api.progress() });
    } catch {
      // Told by the connection; the counts stay as they are.
    }
  }

  #resume(): void {
    void this.courier.wake();
    void this.refreshProgress();
    void this.desk.resume();
    if (!this.state.get().facets)
      this.api.facets().then(
        (facets) => {
          this.state.set({ facets });
        },
        () => undefined,
      );
  }
}
