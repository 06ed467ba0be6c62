/** Every key, once: what it does where. Key handling, the help sheet and the buttons' titles are all made from this. */

export type Scope = "anywhere" | "desk" | "text" | "list" | "history" | "conflict";

export type Command =
  | "help"
  | "list"
  | "desk"
  | "search"
  | "history"
  | "attend"
  | "next"
  | "previous"
  | "accept"
  | "reject"
  | "skip"
  | "undo"
  | "reopen"
  | "save"
  | "genre"
  | "compare"
  | "edit"
  | "leave"
  | "nextDoubt"
  | "previousDoubt"
  | "lineUp"
  | "lineDown"
  | "wordLeft"
  | "wordRight"
  | "mark"
  | "join"
  | "split"
  | "delete"
  | "undoText"
  | "redoText"
  | "zoom"
  | "zoomIn"
  | "zoomOut"
  | "fit"
  | "panUp"
  | "panDown"
  | "panLeft"
  | "panRight"
  | "rowDown"
  | "rowUp"
  | "open"
  | "pageNext"
  | "pagePrevious"
  | "restore"
  | "mine"
  | "theirs"
  | "merge";

export interface Binding {
  command: Command;
  scope: Scope;
  keys: string[];
  does: string;
  /** Still acts when the key is held down. */
  repeats?: true;
}

export const BINDINGS: Binding[] = [
  { command: "accept", scope: "desk", keys: ["a"], does: "Accept, and go to the next row" },
  { command: "reject", scope: "desk", keys: ["r"], does: "Reject: then 1–9 for the reason" },
  { command: "skip", scope: "desk", keys: ["s"], does: "Skip for now" },
  {
    command: "undo",
    scope: "desk",
    keys: ["u"],
    does: "Take back the newest decision, as often as you like",
  },
  { command: "next", scope: "desk", keys: ["n", "j"], does: "Next row" },
  { command: "previous", scope: "desk", keys: ["p", "k"], does: "Previous row" },
  { command: "save", scope: "desk", keys: ["w", "Ctrl+S"], does: "Save the text as a version, and stay" },
  { command: "reopen", scope: "desk", keys: ["o"], does: "Put a decided row back among what is to do" },
  { command: "genre", scope: "desk", keys: ["g"], does: "Give it a genre" },
  { command: "edit", scope: "desk", keys: ["e", "Enter"], does: "Edit the text at the marked word" },
  { command: "nextDoubt", scope: "desk", keys: ["d"], does: "Next doubtful line" },
  { command: "previousDoubt", scope: "desk", keys: ["D"], does: "Previous doubtful line" },
  { command: "lineUp", scope: "desk", keys: ["ArrowUp"], does: "Line above", repeats: true },
  { command: "lineDown", scope: "desk", keys: ["ArrowDown"], does: "Line below", repeats: true },
  { command: "wordLeft", scope: "desk", keys: ["ArrowLeft"], does: "Word before", repeats: true },
  { command: "wordRight", scope: "desk", keys: ["ArrowRight"], does: "Word after", repeats: true },
  { command: "mark", scope: "desk", keys: [">", "."], does: "Put > before the line" },
  { command: "join", scope: "desk", keys: ["J"], does: "Join with the line above" },
  { command: "split", scope: "desk", keys: ["b"], does: "Break the line at the marked word" },
  { command: "delete", scope: "desk", keys: ["x", "Delete"], does: "Delete the line" },
  { command: "undoText", scope: "desk", keys: ["Ctrl+Z"], does: "Undo a change of the text", repeats: true },
  { command: "redoText", scope: "desk", keys: ["Ctrl+Shift+Z", "Ctrl+Y"], does: "Redo it", repeats: true },
  {
    command: "compare",
    scope: "desk",
    keys: ["v"],
    does: "Compare with what OCR read, what was imported, what is saved",
  },
  { command: "zoom", scope: "desk", keys: ["z"], does: "Screenshot: its width, or 1:1" },
  { command: "zoomIn", scope: "desk", keys: ["+", "="], does: "Screenshot: larger", repeats: true },
  { command: "zoomOut", scope: "desk", keys: ["-"], does: "Screenshot: smaller", repeats: true },
  { command: "fit", scope: "desk", keys: ["0"], does: "Screenshot: all of it" },
  { command: "panUp", scope: "desk", keys: ["Shift+ArrowUp"], does: "Screenshot: up", repeats: true },
  { command: "panDown", scope: "desk", keys: ["Shift+ArrowDown"], does: "Screenshot: down", repeats: true },
  { command: "panLeft", scope: "desk", keys: ["Shift+ArrowLeft"], does: "Screenshot: left", repeats: true },
  {
    command: "panRight",
    scope: "desk",
    keys: ["Shift+ArrowRight"],
    does: "Screenshot: right",
    repeats: true,
  },

  { command: "leave", scope: "text", keys: ["Escape"], does: "Leave the text" },
  { command: "accept", scope: "text", keys: ["Ctrl+Enter"], does: "Accept, and go to the next row" },
  { command: "save", scope: "text", keys: ["Ctrl+S"], does: "Save the text as a version, and stay" },
  { command: "mark", scope: "text", keys: ["Alt+.", "Alt+>"], does: "Put > before the line" },
  { command: "join", scope: "text", keys: ["Alt+J"], does: "Join with the line above" },
  { command: "split", scope: "text", keys: ["Alt+Enter"], does: "Break the line here" },
  { command: "delete", scope: "text", keys: ["Alt+Backspace", "Alt+X"], does: "Delete the line" },
  { command: "nextDoubt", scope: "text", keys: ["Alt+N"], does: "Next doubtful line" },
  { command: "undoText", scope: "text", keys: ["Ctrl+Z"], does: "Undo, also repairs", repeats: true },
  { command: "redoText", scope: "text", keys: ["Ctrl+Shift+Z", "Ctrl+Y"], does: "Redo", repeats: true },

  { command: "mine", scope: "conflict", keys: ["m"], does: "Mine stands" },
  { command: "theirs", scope: "conflict", keys: ["t"], does: "Theirs stands" },
  { command: "merge", scope: "conflict", keys: ["e"], does: "Merge in the editor" },

  { command: "rowDown", scope: "list", keys: ["j", "ArrowDown"], does: "Row below", repeats: true },
  { command: "rowUp", scope: "list", keys: ["k", "ArrowUp"], does: "Row above", repeats: true },
  { command: "open", scope: "list", keys: ["Enter"], does: "Open the row" },
  { command: "pageNext", scope: "list", keys: ["n", "]"], does: "Next 60 rows" },
  { command: "pagePrevious", scope: "list", keys: ["p", "["], does: "Previous 60 rows" },
  { command: "desk", scope: "list", keys: ["Escape"], does: "To the desk" },

  { command: "rowDown", scope: "history", keys: ["j", "ArrowDown"], does: "Older version", repeats: true },
  { command: "rowUp", scope: "history", keys: ["k", "ArrowUp"], does: "Newer version", repeats: true },
  { command: "restore", scope: "history", keys: ["Enter", "e"], does: "Take its text into the editor" },
  { command: "desk", scope: "history", keys: ["Escape"], does: "Back to the desk" },

  { command: "list", scope: "anywhere", keys: ["l"], does: "List of rows" },
  { command: "search", scope: "anywhere", keys: ["/"], does: "Search" },
  { command: "history", scope: "anywhere", keys: ["h"], does: "History of the row" },
  { command: "attend", scope: "anywhere", keys: ["c"], does: "Look at a decision that was not taken" },
  { command: "help", scope: "anywhere", keys: ["?"], does: "This sheet" },
];

export const SCOPE_TITLES: Record<Scope, string> = {
  desk: "At the desk",
  text: "In the text",
  conflict: "When two people changed a row",
  list: "In the list",
  history: "In the history",
  anywhere: "Anywhere but in a text",
};

interface KeyPress {
  key: string;
  code: string;
  ctrlKey: boolean;
  metaKey: boolean;
  altKey: boolean;
  shiftKey: boolean;
}

/** `j`, `J`, `?`, `Ctrl+Shift+Z`, `Alt+J`, `Shift+ArrowUp`. Where Alt types another character, the key's place counts. */
export function keyOf(event: KeyPress): string {
  const chord = event.ctrlKey || event.metaKey || event.altKey;
  const latin = /^[a-z]$/i.test(event.key);
  const place = event.altKey && !latin ? /^Key([A-Z])$/.exec(event.code)?.[1] : undefined;
  const key = place ?? (chord && latin ? event.key.toUpperCase() : event.key);
  const shift = event.shiftKey && (key.length > 1 || (chord && /^[A-Z]$/.test(key)));
  return [event.ctrlKey || event.metaKey ? "Ctrl" : "", event.altKey ? "Alt" : "", shift ? "Shift" : "", key]
    .filter(Boolean)
    .join("+");
}

export function bindingFor(key: string, scopes: Scope[]): Binding | null {
  return BINDINGS.find((binding) => scopes.includes(binding.scope) && binding.keys.includes(key)) ?? null;
}

/** The first key of a command, for buttons. */
export function keyFor(command: Command, scope: Scope): string {
  return BINDINGS.find((binding) => binding.command === command && binding.scope === scope)?.keys[0] ?? "";
}

const SPELLED: Record<string, string> = {
  ArrowUp: "↑",
  ArrowDown: "↓",
  ArrowLeft: "←",
  ArrowRight: "→",
  Escape: "Esc",
  Delete: "Del",
};

export function spelled(key: string): string {
  return key
    .split(/\+(?=.)/)
    .map((part) => SPELLED[part] ?? part)
    .join(" ");
}
