/** What the shown view can do, by name: keys and buttons both go through here. */

import { createContext, useContext, useEffect, useRef } from "react";

import type { Command } from "./keymap.ts";

export type Handlers = Partial<Record<Command, () => void>>;

export class Commands {
  readonly #handlers: { current: Handlers }[] = [];

  /** The newest that knows a command does it. */
  add(handlers: { current: Handlers }): () => void {
    this.#handlers.unshift(handlers);
    return () => {
      this.#handlers.splice(this.#handlers.indexOf(handlers), 1);
    };
  }

  /** Whether anybody did it. */
  run(command: Command): boolean {
    for (const { current } of this.#handlers) {
      const handler = current[command];
      if (handler) {
        handler();
        return true;
      }
    }
    return false;
  }
}

export const CommandsContext = createContext(new Commands());

/** What this component does while it is shown. */
export function useCommands(handlers: Handlers): void {
  const commands = useContext(CommandsContext);
  const newest = useRef(handlers);
  useEffect(() => {
    newest.current = handlers;
  });
  useEffect(() => commands.add(newest), [commands]);
}

export function useRun(): (command: Command) => void {
  const commands = useContext(CommandsContext);
  return (command) => void commands.run(command);
}
