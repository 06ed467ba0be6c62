import type { ReactNode } from "react";

import { useRun } from "../commands.ts";
import { type Command, type Scope, keyFor, spelled } from "../keymap.ts";

/** A button that does what a key does, and says which key. */
export function KeyButton(props: {
  command: Command;
  scope: Scope;
  children: ReactNode;
  className?: string;
  disabled?: boolean;
  title?: string;
}) {
  const run = useRun();
  const key = keyFor(props.command, props.scope);
  return (
    <button
      type="button"
      className={props.className ?? ""}
      disabled={props.disabled ?? false}
      title={props.title ? `${props.title} (${spelled(key)})` : undefined}
      aria-keyshortcuts={key.replace(/Ctrl/, "Control")}
      // The text keeps its focus and its caret.
      onPointerDown={(event) => {
        event.preventDefault();
      }}
      onClick={() => {
        run(props.command);
      }}
    >
      {props.children}
      <kbd aria-hidden="true">{spelled(key)}</kbd>
    </button>
  );
}
