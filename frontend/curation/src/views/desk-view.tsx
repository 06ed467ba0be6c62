import { useEffect, useMemo, useRef, useState } from "react";

import { useCommands } from "../commands.ts";
import type { Action } from "../contract.ts";
import type { DeskState } from "../desk/desk-state.ts";
import { QUEUE_WORDS } from "../desk/words.ts";
import { type Filter, filterQuery, filterWords } from "../filter.ts";
import { KeyButton } from "../parts/key-button.tsx";
import { go } from "../routes.ts";
import { useSpace } from "../space-context.ts";
import { useStore } from "../store.ts";
import { doubtOf, nextDoubt, notesOf } from "../text/doubts.ts";
import { lineAt, lineSpan, wordStops } from "../text/lines.ts";
import { problemsOf } from "../text/problems.ts";
import { ConflictView } from "./conflict-view.tsx";
import { DeskDiff } from "./desk-diff.tsx";
import { Editor } from "./editor.tsx";
import { GenreDialog } from "./genre-dialog.tsx";
import { Notes } from "./notes.tsx";
import { RejectDialog } from "./reject-dialog.tsx";
import { RowHead } from "./row-head.tsx";
import { Screenshot } from "./screenshot.tsx";

/** One row: its screenshot, its text, and what to do with it. */
export function DeskView({ id, filter }: { id: string | null; filter: Filter }) {
  const space = useSpace();
  const { desk } = space;
  const state = useStore(desk.state);
  const wanted = new URLSearchParams(filterQuery(filter)).toString();
  const root = useRef<HTMLElement>(null);

  useEffect(() => {
    void desk.begin(id);
  }, [desk, id]);
  useEffect(() => {
    desk.restart();
  }, [desk, wanted]);
  useEffect(() => {
    root.current?.focus({ preventScroll: true });
  }, []);

  return (
    <main className="desk" ref={root} tabIndex={-1} aria-busy={state.busy} aria-label="Desk">
      {state.phase === "row" && state.row && !state.conflict && <RowDesk state={state} root={root} />}
      {state.phase === "row" && state.conflict && <ConflictView conflict={state.conflict} />}
      {state.phase !== "row" && <NoRow state={state} filter={filter} />}
    </main>
  );
}

function RowDesk({ state, root }: { state: DeskState; root: React.RefObject<HTMLElement | null> }) {
  const space = useSpace();
  const { desk } = space;
  const { row, text } = state;
  const [asking, setAsking] = useState<"reject" | "genre" | null>(null);
  const editor = useRef<HTMLTextAreaElement>(null);
  const problems = useMemo(() => state.refusal ?? problemsOf(text), [state.refusal, text]);
  const notes = useMemo(() => (row ? notesOf(text, row, problems) : []), [row, text, problems]);
  const leaveText = () => root.current?.focus({ preventScroll: true });

  const decide = (action: Action) => () => {
    if (action !== "save") leaveText();
    desk.inTurn(() => desk.decisions.decide({ action }));
  };
  const toLine = (line: number) => {
    const span = lineSpan(text, line);
    desk.place(Math.min(span.end, span.start + (text[span.start] === ">" ? 1 : 0)));
  };
  const line = lineAt(text, state.start);
  const toDoubt = (backwards: boolean) => () => {
    const order = backwards ? [...notes].reverse() : notes;
    const found = nextDoubt(order, backwards ? notes.length - 1 - line : line);
    if (found === null) {
      space.say("No doubtful line.");
      return;
    }
    const at = backwards ? notes.length - 1 - found : found;
    toLine(at);
    const note = notes[at];
    space.say(`Line ${at + 1}: ${(note && doubtOf(note)) ?? ""}`);
  };
  const toWord = (by: 1 | -1) => () => {
    const span = lineSpan(text, line);
    const stops = wordStops(text.slice(span.start, span.end)).map((stop) => span.start + stop);
    const stop = by === 1 ? stops.find((at) => at > state.start) : stops.findLast((at) => at < state.start);
    if (stop !== undefined) desk.place(stop);
  };

  useCommands({
    next: () => {
      desk.inTurn(() => desk.next());
    },
    previous: () => {
      desk.inTurn(() => desk.previous());
    },
    accept: decide("accept"),
    skip: decide("skip"),
    save: decide("save"),
    reopen: decide("reopen"),
    reject: () => {
      setAsking("reject");
    },
    genre: () => {
      setAsking("genre");
    },
    edit: () => editor.current?.focus(),
    leave: leaveText,
    nextDoubt: toDoubt(false),
    previousDoubt: toDoubt(true),
    lineUp: () => {
      toLine(Math.max(0, line - 1));
    },
    lineDown: () => {
      toLine(Math.min(notes.length - 1, line + 1));
    },
    wordLeft: toWord(-1),
    wordRight: toWord(1),
    mark: () => {
      desk.repair("mark");
    },
    join: () => {
      desk.repair("join");
    },
    split: () => {
      desk.repair("split");
    },
    delete: () => {
      desk.repair("delete");
    },
    undoText: () => {
      desk.undoText();
    },
    redoText: () => {
      desk.redoText();
    },
    compare: () => {
      const bases = row?.raw_text
        ? (["raw", "imported", "saved"] as const)
        : (["imported", "saved"] as const);
      const at = bases.findIndex((base) => base === state.diffBase);
      desk.compareWith(bases[(at + 1) % bases.length] ?? "imported");
    },
  });
  useCommands({
    undo: () => {
      desk.inTurn(() => desk.decisions.undo());
    },
  });

  if (!row) return null;
  return (
    <div className={row.has_image ? "row-desk pictured" : "row-desk"}>
      {row.has_image && <Screenshot key={row.id} row={row} />}
      <section className="text-side" aria-label="Text">
        <RowHead
          state={state}
          onGenre={() => {
            setAsking("genre");
          }}
        />
        <Editor area={editor} state={state} notes={notes} />
        <div className="repairs" role="toolbar" aria-label="Repairs">
          <KeyButton command="mark" scope="desk" title="Put > before the line">
            Mark
          </KeyButton>
          <KeyButton command="join" scope="desk" title="Join with the line above">
            Join
          </KeyButton>
          <KeyButton command="split" scope="desk" title="Break the line at the caret">
            Split
          </KeyButton>
          <KeyButton command="delete" scope="desk" title="Delete the line">
            Delete
          </KeyButton>
          <KeyButton command="undoText" scope="desk" title="Undo a change of the text">
            Undo edit
          </KeyButton>
          <KeyButton command="nextDoubt" scope="desk" title="Next doubtful line">
            Next doubt
          </KeyButton>
        </div>
        <Notes notes={notes} refused={state.refusal !== null} others={state.others} onLine={toLine} />
      </section>
      <DeskDiff state={state} />
      <div className="actions" role="toolbar" aria-label="Decisions">
        <KeyButton command="accept" scope="desk" className="accept" disabled={state.heldBy !== null}>
          Accept
        </KeyButton>
        <KeyButton command="reject" scope="desk" className="reject" disabled={state.heldBy !== null}>
          Reject
        </KeyButton>
        <KeyButton command="skip" scope="desk" disabled={state.heldBy !== null}>
          Skip
        </KeyButton>
        <KeyButton command="undo" scope="desk" disabled={state.undoDepth === 0}>
          Undo
        </KeyButton>
        <KeyButton command="previous" scope="desk">
          Back
        </KeyButton>
        <KeyButton command="next" scope="desk">
          Next
        </KeyButton>
        {row.queue !== "todo" && (
          <KeyButton command="reopen" scope="desk" disabled={state.heldBy !== null}>
            Reopen
          </KeyButton>
        )}
      </div>
      {asking === "reject" && (
        <RejectDialog
          onClose={() => {
            setAsking(null);
          }}
          onReject={(reason, note) => {
            setAsking(null);
            leaveText();
            desk.inTurn(() => desk.decisions.decide({ action: "reject", reason, ...(note ? { note } : {}) }));
          }}
        />
      )}
      {asking === "genre" && (
        <GenreDialog
          genre={state.genre ?? row.genre}
          onClose={() => {
            setAsking(null);
          }}
          onPick={(genre) => {
            setAsking(null);
            desk.pickGenre(genre);
          }}
        />
      )}
    </div>
  );
}

function NoRow({ state, filter }: { state: DeskState; filter: Filter }) {
  const { desk, state: space } = useSpace();
  const { progress } = useStore(space);
  useCommands({
    undo: () => {
      desk.inTurn(() => desk.decisions.undo());
    },
    next: () => {
      desk.inTurn(() => desk.next());
    },
    previous: () => {
      desk.inTurn(() => desk.previous());
    },
  });
  const narrowed = filterWords(filter);
  return (
    <div className="centre no-row">
      {state.phase === "loading" && <p className="quiet">Opening…</p>}
      {state.phase === "waiting" && (
        <p>The next row comes when the server is back. What you decided is kept in this browser.</p>
      )}
      {state.phase === "missing" && <p>There is no such row in this folder.</p>}
      {state.phase === "empty" && (
        <>
          <h2>Nothing left here</h2>
          <p>
            {narrowed
              ? `No row in “${QUEUE_WORDS[filter.queue]}” matches ${narrowed}.`
              : `“${QUEUE_WORDS[filter.queue]}” is empty, or others are working on the last rows.`}
          </p>
          {progress && (
            <p className="quiet">
              {progress.accepted} accepted, {progress.rejected} rejected, {progress.skipped} skipped.
            </p>
          )}
        </>
      )}
      {state.phase !== "loading" && (
        <div className="actions">
          <KeyButton command="undo" scope="desk">
            Undo
          </KeyButton>
          <KeyButton command="next" scope="desk">
            Look again
          </KeyButton>
          <button
            type="button"
            onClick={() => {
              go({ name: "list" });
            }}
          >
            List <kbd aria-hidden="true">l</kbd>
          </button>
        </div>
      )}
    </div>
  );
}
