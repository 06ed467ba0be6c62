import type { AsideText } from "../keep/local-drafts.ts";
import { ago } from "../desk/words.ts";
import { useSpace } from "../space-context.ts";
import { type LineNotes, doubtOf } from "../text/doubts.ts";

/** What is doubtful, in words, under the text; and what else was typed for it. */
export function Notes(props: {
  notes: LineNotes[];
  refused: boolean;
  others: AsideText[];
  onLine: (line: number) => void;
}) {
  const { desk } = useSpace();
  const doubts = props.notes.flatMap((note, line) => {
    const doubt = doubtOf(note);
    return doubt === null ? [] : [{ line, doubt, problem: note.problems.length > 0 }];
  });
  return (
    <div className="notes" id="notes">
      {props.refused && (
        <p className="alarm">
          <strong>Not accepted yet.</strong> Mend what is marked, and accept again.
        </p>
      )}
      {doubts.length > 0 && (
        <ul>
          {doubts.map(({ line, doubt, problem }) => (
            <li key={line} className={problem ? "problem" : ""}>
              <button
                type="button"
                className="plain"
                onClick={() => {
                  props.onLine(line);
                }}
              >
                <b>Line {line + 1}</b> {doubt}
              </button>
            </li>
          ))}
        </ul>
      )}
      {props.others.map((other) => (
        <p key={other.text} className="notice">
          Another text of yours, typed {ago(other.at_s)}: <q>{other.text.slice(0, 60)}</q>{" "}
          <button
            type="button"
            onClick={() => {
              desk.replaceText(other.text);
            }}
          >
            Take it
          </button>
        </p>
      ))}
    </div>
  );
}
