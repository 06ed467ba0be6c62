import { type KeyboardEvent, useEffect, useRef } from "react";

import { type Piece, piecesOf, shown } from "../text/lines.ts";

interface GreentextProps {
  text: string;
  prompt: string | null;
  writing: boolean;
  /** A click on a line, by its index; none where it cannot be continued. */
  onLine: ((line: number) => void) | null;
}

/** A text as it stands in a post: plain text in every case, whatever it looks like. */
export function Greentext({ text, prompt, writing, onLine }: GreentextProps) {
  const lines = piecesOf(writing ? text : shown(text), prompt);
  return (
    <div className="text">
      {lines.map((pieces, index) => (
        <p
          key={index}
          className={classOf(pieces)}
          onClick={() => {
            if (onLine && getSelection()?.isCollapsed !== false) onLine(index);
          }}
        >
          <Pieces pieces={pieces} />
          {writing && index === lines.length - 1 && <span className="caret" aria-hidden="true" />}
        </p>
      ))}
    </div>
  );
}

interface PickProps {
  text: string;
  prompt: string | null;
  /** Which line is offered first. */
  line: number;
  onPick: (line: number) => void;
  onCancel: () => void;
}

/** The same with each line a button: where to go on from. Arrows lead from line to line, Escape out. */
export function PickLine({ text, prompt, line, onPick, onCancel }: PickProps) {
  const lines = piecesOf(shown(text), prompt);
  const list = useRef<HTMLDivElement>(null);
  useEffect(() => {
    list.current?.querySelectorAll("button")[line]?.focus();
  }, [line]);
  const moved = (event: KeyboardEvent) => {
    const buttons = [...(list.current?.querySelectorAll("button") ?? [])];
    const here = buttons.findIndex((button) => button === document.activeElement);
    const to = { ArrowUp: here - 1, ArrowDown: here + 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (event.key === "Escape") onCancel();
    else if (to === undefined) return;
    else buttons[Math.max(0, Math.min(buttons.length - 1, to))]?.focus();
    event.preventDefault();
  };
  return (
    <div
      className="text picking"
      ref={list}
      onKeyDown={moved}
      role="group"
      aria-label="Continue after which line?"
    >
      {lines.map((pieces, index) => (
        <button
          key={index}
          type="button"
          className={classOf(pieces)}
          onPointerMove={(event) => {
            event.currentTarget.focus({ preventScroll: true });
          }}
          onClick={() => {
            onPick(index);
          }}
        >
          <Pieces pieces={pieces} />
        </button>
      ))}
    </div>
  );
}

function Pieces({ pieces }: { pieces: Piece[] }) {
  return pieces.length === 0 ? (
    <br />
  ) : (
    pieces.map((piece, index) =>
      piece.given ? (
        <span key={index} className="given">
          {piece.text}
        </span>
      ) : (
        piece.text
      ),
    )
  );
}

function classOf(pieces: Piece[]): string {
  const quote = pieces[0]?.text.startsWith(">") === true;
  const given = pieces.length > 0 && pieces.every((piece) => piece.given);
  return `${quote ? "quote" : ""} ${given ? "all-given" : ""}`;
}
