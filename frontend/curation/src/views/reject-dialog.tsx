import { type KeyboardEvent, useRef, useState } from "react";

import { Dialog } from "../parts/dialog.tsx";
import { useSpace } from "../space-context.ts";
import { useStore } from "../store.ts";

const LONGEST_NOTE = 500;

/** A digit rejects at once; whoever has more to say writes a note first, and then presses Enter or a button. */
export function RejectDialog(props: {
  onClose: () => void;
  onReject: (reason: string, note: string) => void;
}) {
  const { facets } = useStore(useSpace().state);
  const [note, setNote] = useState("");
  const [picked, setPicked] = useState(0);
  const field = useRef<HTMLInputElement>(null);
  const reasons = facets?.reasons ?? [];
  const reject = (index: number) => {
    const reason = reasons[index];
    if (reason) props.onReject(reason.code, note.trim());
  };

  const press = (event: KeyboardEvent) => {
    const digit = /^[1-9]$/.test(event.key) ? Number(event.key) - 1 : null;
    const inNote = event.target === field.current;
    if (digit !== null && (!inNote || event.altKey)) {
      event.preventDefault();
      reject(digit);
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const by = event.key === "ArrowDown" ? 1 : reasons.length - 1;
      setPicked((picked + by) % Math.max(1, reasons.length));
    } else if (event.key === "Enter" && inNote) {
      event.preventDefault();
      reject(picked);
    } else if (event.key === "n" && !inNote && !event.ctrlKey && !event.altKey && !event.metaKey) {
      event.preventDefault();
      field.current?.focus();
    }
  };

  return (
    <Dialog title="Reject: why?" onClose={props.onClose} onKeyDown={press}>
      <div className="reasons">
        {reasons.length === 0 && <p className="quiet">The reasons come when the server answers.</p>}
        <ul>
          {reasons.map((reason, index) => (
            <li key={reason.code}>
              <button
                type="button"
                data-first={index === 0 ? true : undefined}
                className={index === picked ? "picked" : ""}
                onFocus={() => {
                  setPicked(index);
                }}
                onClick={() => {
                  reject(index);
                }}
              >
                <kbd>{index + 1}</kbd> {reason.label}
              </button>
            </li>
          ))}
        </ul>
        <label>
          <span>
            Note <kbd aria-hidden="true">n</kbd>
          </span>
          <input
            ref={field}
            value={note}
            maxLength={LONGEST_NOTE}
            onChange={(event) => {
              setNote(event.target.value);
            }}
            placeholder="if there is more to say; Enter rejects"
          />
        </label>
        <p className="quiet">
          A note goes with: <b>{reasons[picked]?.label}</b> (↑ ↓ change it, Enter rejects, Esc goes back).
        </p>
      </div>
    </Dialog>
  );
}
