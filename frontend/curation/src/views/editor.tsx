import { type Ref, type RefObject, useEffect, useLayoutEffect, useRef, useState } from "react";

import type { DeskState } from "../desk/desk-state.ts";
import { useSpace } from "../space-context.ts";
import { type LineNotes, doubtOf } from "../text/doubts.ts";
import { lineAt, lineSpan } from "../text/lines.ts";

interface EditorProps {
  area: RefObject<HTMLTextAreaElement | null>;
  state: DeskState;
  notes: LineNotes[];
}

/**
 * The text, with its line numbers and marks.
 *
 * A sheet of paper under the text area has the same letters in the same places, unseen, and carries all marks: numbers,
 * colours under words, notes at the margin. Both lie in one grid cell and grow together, so neither ever scrolls alone.
 */
export function Editor({ area, state, notes }: EditorProps) {
  const { desk } = useSpace();
  const { text, start, end, stamp, heldBy } = state;
  const paper = useRef<HTMLDivElement>(null);
  const [focused, setFocused] = useState(false);

  // The program moved the caret: the text area follows. Its own moves come in through onSelect.
  useLayoutEffect(() => {
    if (document.activeElement === area.current) area.current?.setSelectionRange(start, end);
    paper.current?.querySelector(".current")?.scrollIntoView({ block: "nearest" });
    // eslint-disable-next-line react-hooks/exhaustive-deps -- start and end as they are when stamp rises
  }, [stamp]);

  // A menu's Undo would change the text behind the page's own history.
  useEffect(() => {
    const element = area.current;
    const before = (event: InputEvent) => {
      if (event.inputType !== "historyUndo" && event.inputType !== "historyRedo") return;
      event.preventDefault();
      if (event.inputType === "historyUndo") desk.undoText();
      else desk.redoText();
    };
    element?.addEventListener("beforeinput", before);
    return () => element?.removeEventListener("beforeinput", before);
  }, [desk, area]);

  const line = lineAt(text, start);
  return (
    <div className={focused ? "editor focused" : "editor"}>
      <Paper
        ref={paper}
        notes={notes}
        line={line}
        column={focused ? null : start - lineSpan(text, line).start}
      />
      <textarea
        ref={area}
        className="editor-text"
        aria-label="Text of the greentext"
        aria-describedby="notes"
        spellCheck
        autoCapitalize="off"
        autoComplete="off"
        rows={1}
        readOnly={heldBy !== null}
        value={text}
        onChange={({ target }) => {
          desk.type({ text: target.value, start: target.selectionStart, end: target.selectionEnd });
        }}
        onSelect={({ currentTarget }) => {
          if (document.activeElement === currentTarget)
            desk.select(currentTarget.selectionStart, currentTarget.selectionEnd);
        }}
        onFocus={({ currentTarget }) => {
          setFocused(true);
          if (!currentTarget.matches(":active")) currentTarget.setSelectionRange(start, end);
        }}
        onBlur={() => {
          setFocused(false);
        }}
      />
    </div>
  );
}

/** `column`: where the marked word begins in the current line; null while the text area shows its own caret. */
function Paper({
  ref,
  notes,
  line,
  column,
}: {
  ref: Ref<HTMLDivElement>;
  notes: LineNotes[];
  line: number;
  column: number | null;
}) {
  return (
    <div className="paper" ref={ref} aria-hidden="true">
      {notes.map((note, index) => {
        const doubt = doubtOf(note);
        const classes = ["paper-line"];
        if (index === line) classes.push("current");
        if (note.problems.length > 0) classes.push("problem");
        else if (note.warnings.length > 0) classes.push("warned");
        else if (doubt !== null) classes.push("unsure");
        return (
          <div key={index} className={classes.join(" ")}>
            <span className="number">{index + 1}</span>
            <Words note={note} />
            {doubt !== null && (
              <span className="margin" title={doubt}>
                {doubt}
              </span>
            )}
            {index === line && column !== null && (
              <span className="caret">
                {note.text.slice(0, column)}
                <i />
              </span>
            )}
          </div>
        );
      })}
    </div>
  );
}

function Words({ note }: { note: LineNotes }) {
  const pieces: React.ReactNode[] = [];
  let at = 0;
  for (const mark of note.marks) {
    pieces.push(note.text.slice(at, mark.start));
    pieces.push(
      <mark key={mark.start} className={mark.kind}>
        {note.text.slice(mark.start, mark.end)}
      </mark>,
    );
    at = mark.end;
  }
  pieces.push(note.text.slice(at));
  return <span className="words">{pieces}</span>;
}
