import { useEffect, useRef, useState } from "react";

import { useCommands } from "../commands.ts";
import type { Version } from "../contract.ts";
import { QUEUE_WORDS, ago, clock } from "../desk/words.ts";
import type { AsideText } from "../keep/local-drafts.ts";
import { DiffTable } from "../parts/diff-table.tsx";
import { KeyButton } from "../parts/key-button.tsx";
import { go } from "../routes.ts";
import { useSpace } from "../space-context.ts";

interface Past {
  versions: Version[];
  aside: AsideText[];
}

/** Everything that a row ever was, and what you typed and did not keep. */
export function HistoryView({ id }: { id: string }) {
  const space = useSpace();
  const [past, setPast] = useState<Past | null>(null);
  const [failed, setFailed] = useState(false);
  const [at, setAt] = useState(0);
  const [against, setAgainst] = useState<"before" | "now">("before");
  const root = useRef<HTMLElement>(null);

  useEffect(() => {
    let stale = false;
    space.api.history(id).then(
      ({ versions, set_aside }) => {
        if (stale) return;
        const kept = (set_aside ?? []).map((draft) => ({ text: draft.text, at_s: draft.saved_at_s }));
        const aside = [...space.drafts.aside(id), ...kept];
        setPast({
          versions,
          aside: aside.filter((one, index) => aside.findIndex((other) => other.text === one.text) === index),
        });
      },
      () => {
        if (!stale) setFailed(true);
      },
    );
    root.current?.focus({ preventScroll: true });
    return () => {
      stale = true;
    };
  }, [space, id]);

  const restore = (text: string) => {
    space.desk.inTurn(async () => {
      if (space.desk.rowId !== id) await space.desk.open(id);
      space.desk.replaceText(text);
      space.say("In the editor now. Accept or save it, or undo with Ctrl Z.");
    });
    go({ name: "desk", id });
  };
  const versions = past?.versions ?? [];
  const chosen = versions[at];
  useCommands({
    rowDown: () => {
      setAt(Math.min(versions.length - 1, at + 1));
    },
    rowUp: () => {
      setAt(Math.max(0, at - 1));
    },
    restore: () => {
      if (chosen) restore(chosen.text);
    },
  });

  const before = against === "before" ? versions[at + 1] : chosen;
  const after = against === "before" ? chosen : versions[0];
  return (
    <main className="history" ref={root} tabIndex={-1} aria-label={`History of row ${id}`}>
      <section className="versions" aria-label="Versions">
        <h2>Row #{id}</h2>
        {failed && <p className="quiet">The history comes when the server answers.</p>}
        <ol>
          {versions.map((version, index) => (
            <li key={version.version} aria-current={index === at ? "true" : undefined}>
              <button
                type="button"
                className={index === at ? "version current" : "version"}
                onClick={() => {
                  setAt(index);
                }}
              >
                <b>v{version.version}</b> {version.action.replaceAll("_", " ")}
                <span className={`chip queue-${version.queue}`}>{QUEUE_WORDS[version.queue]}</span>
                <span className="quiet">
                  {version.person ?? "import"}, <time title={clock(version.at_s)}>{ago(version.at_s)}</time>
                  {version.reason && ` · ${version.reason.replaceAll("_", " ")}`}
                  {version.note && ` · “${version.note}”`}
                </span>
              </button>
            </li>
          ))}
        </ol>
        {past && past.aside.length > 0 && (
          <>
            <h3>Typed by you, and put aside</h3>
            <ul>
              {past.aside.map((one) => (
                <li key={one.text}>
                  <span className="quiet">{clock(one.at_s)}</span> <q>{one.text.slice(0, 80)}</q>{" "}
                  <button
                    type="button"
                    onClick={() => {
                      restore(one.text);
                    }}
                  >
                    Take it
                  </button>
                </li>
              ))}
            </ul>
          </>
        )}
      </section>
      {chosen && (
        <section className="version-text" aria-label={`Version ${chosen.version}`}>
          <div className="actions">
            <KeyButton command="restore" scope="history" className="accept">
              Take into the editor
            </KeyButton>
            <KeyButton command="desk" scope="history">
              Back
            </KeyButton>
            <div className="tabs" role="group" aria-label="Compare">
              <button
                type="button"
                aria-pressed={against === "before"}
                onClick={() => {
                  setAgainst("before");
                }}
              >
                with the one before
              </button>
              <button
                type="button"
                aria-pressed={against === "now"}
                onClick={() => {
                  setAgainst("now");
                }}
              >
                with the newest
              </button>
            </div>
          </div>
          <pre tabIndex={0}>{chosen.text}</pre>
          <h3>{against === "before" ? "What changed with it" : "What has changed since"}</h3>
          <DiffTable
            before={before?.text ?? after?.text ?? ""}
            after={after?.text ?? ""}
            label="Versions compared"
            same={chosen.version === 0 && against === "before" ? "The import." : "The text is the same."}
          />
        </section>
      )}
    </main>
  );
}
