import { useCommands } from "../commands.ts";
import type { Conflict } from "../desk/desk-state.ts";
import { QUEUE_WORDS, ago } from "../desk/words.ts";
import { DiffTable } from "../parts/diff-table.tsx";
import { KeyButton } from "../parts/key-button.tsx";
import { useSpace } from "../space-context.ts";

const MEANT = { accept: "accept", reject: "reject", skip: "skip", reopen: "reopen", save: "save" } as const;

/** Both texts, what differs, and the three ways on. Neither text is gone, whichever is chosen. */
export function ConflictView({ conflict }: { conflict: Conflict }) {
  const { desk } = useSpace();
  const { theirs, mine, decision, message } = conflict;
  useCommands({
    mine: () => {
      desk.inTurn(() => desk.decisions.keepMine());
    },
    theirs: () => {
      desk.decisions.takeTheirs();
    },
    merge: () => {
      desk.decisions.merge();
      requestAnimationFrame(() => document.querySelector<HTMLTextAreaElement>(".editor-text")?.focus());
    },
  });
  return (
    <div className="conflict">
      <h2>This row was changed while you worked on it</h2>
      <p>
        {message !== null && <b>{message} </b>}
        It stands at version {theirs.version} now (<b>{QUEUE_WORDS[theirs.queue].toLowerCase()}</b>, changed{" "}
        {ago(theirs.changed_at_s)}).{" "}
        {decision ? `You were about to ${MEANT[decision.action]} it.` : "You had not decided yet."} Both texts
        are kept, whatever you choose.
      </p>
      <div className="actions" role="toolbar" aria-label="What stands">
        <KeyButton command="mine" scope="conflict" className="accept">
          {decision ? `Mine, and ${MEANT[decision.action]}` : "Mine"}
        </KeyButton>
        <KeyButton command="theirs" scope="conflict">
          Theirs
        </KeyButton>
        <KeyButton command="merge" scope="conflict">
          Merge in the editor
        </KeyButton>
      </div>
      <div className="both">
        <section aria-label="Mine">
          <h3>Mine</h3>
          <pre tabIndex={0}>{mine}</pre>
        </section>
        <section aria-label="Theirs">
          <h3>Theirs</h3>
          <pre tabIndex={0}>{theirs.text}</pre>
        </section>
      </div>
      <section aria-label="What differs">
        <h3>From theirs to mine</h3>
        <DiffTable
          before={theirs.text}
          after={mine}
          label="From theirs to mine"
          same="The texts are the same."
        />
      </section>
    </div>
  );
}
