import type { Thread } from "../keep/thread.ts";
import { SureButton } from "../parts/sure-button.tsx";
import { hashOf } from "../routes.ts";
import { useSpace } from "../space.ts";
import { useStore } from "../store.ts";
import { boardDate, counted } from "../text/dates.ts";
import { linesOf, shown, summary } from "../text/lines.ts";

const LINES_SHOWN = 6;

/** What was made in this browser, newest first. */
export function ThreadsView() {
  const space = useSpace();
  const { threads } = useStore(space.threads.state);
  const kept = threads.filter((thread) => !thread.fleeting);
  return (
    <>
      <div className="view-head">
        <h2>Your threads</h2>
        <p>
          <span className="quiet">Kept in this browser only.</span>
          <SureButton
            className="act"
            sure="Really forget everything?"
            onSure={() => void space.forgetEverything()}
          >
            Forget everything
          </SureButton>
        </p>
      </div>
      {kept.length === 0 ? (
        <p className="empty">
          Nothing yet. <a href="#/">Write one</a>: it will be found here again.
        </p>
      ) : (
        <ul className="catalog">
          {kept.map((thread) => (
            <Entry key={thread.id} thread={thread} />
          ))}
        </ul>
      )}
    </>
  );
}

function Entry({ thread }: { thread: Thread }) {
  const space = useSpace();
  const [op, ...replies] = thread.posts;
  if (!op) return null;
  const lines = linesOf(shown(op.text));
  return (
    <li className="catalog-entry">
      <a href={hashOf({ name: "thread", id: thread.id })}>
        <span className="text">
          {lines.slice(0, LINES_SHOWN).map((line, index) => (
            <span key={index} className={line.startsWith(">") ? "quote" : undefined}>
              {line}
            </span>
          ))}
          {lines.length > LINES_SHOWN && <span className="quiet">…</span>}
        </span>
      </a>
      <p className="quiet">
        <time dateTime={new Date(thread.changedMs).toISOString()}>{boardDate(thread.changedMs)}</time>
        <br />
        {counted(replies.length, "reply", "replies")}{" "}
        <SureButton
          className="act"
          sure="Really delete?"
          label={`Delete thread: ${summary(op.text, 40)}`}
          onSure={() => void space.deleteThread(thread.id)}
        >
          Delete
        </SureButton>
      </p>
    </li>
  );
}
