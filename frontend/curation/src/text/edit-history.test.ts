import { expect, test } from "vitest";

import { EditHistory } from "./edit-history.ts";

function typed(history: EditHistory, letters: string, atMs: number): void {
  for (const letter of letters) {
    const { text, start } = history.now;
    const next = text.slice(0, start) + letter + text.slice(start);
    history.type({ text: next, start: start + 1, end: start + 1 }, atMs);
    atMs += 50;
  }
}

test("words are steps", () => {
  const history = new EditHistory("");
  typed(history, "one two", 0);
  expect(history.undo()?.text).toBe("one");
  expect(history.undo()?.text).toBe("");
  expect(history.undo()).toBeNull();
  expect(history.redo()?.text).toBe("one");
  expect(history.redo()?.text).toBe("one two");
  expect(history.redo()).toBeNull();
});

test("a pause and a moved caret begin a step", () => {
  const history = new EditHistory("");
  typed(history, "ab", 0);
  typed(history, "cd", 5000);
  history.select(0, 0);
  typed(history, "x", 5100);
  expect(history.now.text).toBe("xabcd");
  expect(history.undo()?.text).toBe("abcd");
  expect(history.undo()?.text).toBe("ab");
});

test("a repair between typing is a step of its own, and undo brings the caret back", () => {
  const history = new EditHistory("be me");
  history.select(2, 2);
  history.replace({ text: ">be me", start: 3, end: 3 });
  typed(history, "!", 0);
  expect(history.undo()).toEqual({ text: ">be me", start: 3, end: 3 });
  expect(history.undo()).toEqual({ text: "be me", start: 2, end: 2 });
});

test("typing after undo forgets what could be redone", () => {
  const history = new EditHistory("");
  typed(history, "ab", 0);
  history.undo();
  typed(history, "c", 100);
  expect(history.redo()).toBeNull();
});
