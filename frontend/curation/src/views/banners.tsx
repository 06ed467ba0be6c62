import { useRun } from "../commands.ts";
import { count } from "../desk/words.ts";
import { route } from "../routes.ts";
import { useSpace } from "../space-context.ts";
import { useStore } from "../store.ts";

/** What people must know before they go on: the server is gone, a decision was not taken, nothing is kept here. */
export function Banners() {
  const space = useSpace();
  const { reached, waiting, stuck: all, keeps } = useStore(space.state);
  const { conflict } = useStore(space.desk.state);
  const { view } = useStore(route);
  const stuck = all.filter(({ entry }) => view.name !== "desk" || conflict?.theirs.id !== entry.row_id);
  const run = useRun();
  return (
    <div className="banners">
      {!reached && (
        <p className="banner" role="status">
          <strong>The server does not answer.</strong> Go on: what you type and decide is kept in this browser
          {waiting > 0 && ` (${count(waiting, "decision waits", "decisions wait")})`} and sent when it is
          back.
        </p>
      )}
      {stuck.length > 0 && (
        <p className="banner" role="status">
          <strong>{count(stuck.length, "decision was not taken", "decisions were not taken")}.</strong>{" "}
          <span className="excerpt">{stuck[0]?.entry.excerpt}</span>{" "}
          <button
            type="button"
            onClick={() => {
              run("attend");
            }}
          >
            Look at it <kbd aria-hidden="true">c</kbd>
          </button>
        </p>
      )}
      {!keeps && (
        <p className="banner" role="status">
          This browser keeps no copies of what you type: only what reaches the server is safe.
        </p>
      )}
    </div>
  );
}
