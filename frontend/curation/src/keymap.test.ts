import { describe, expect, test } from "vitest";

import { BINDINGS, bindingFor, keyOf, spelled } from "./keymap.ts";

const NONE = { code: "", ctrlKey: false, metaKey: false, altKey: false, shiftKey: false };

test.each([
  [{ ...NONE, key: "j", code: "KeyJ" }, "j"],
  [{ ...NONE, key: "J", code: "KeyJ", shiftKey: true }, "J"],
  [{ ...NONE, key: "?", code: "Slash", shiftKey: true }, "?"],
  [{ ...NONE, key: "z", code: "KeyZ", ctrlKey: true }, "Ctrl+Z"],
  [{ ...NONE, key: "Z", code: "KeyZ", metaKey: true, shiftKey: true }, "Ctrl+Shift+Z"],
  [{ ...NONE, key: "∆", code: "KeyJ", altKey: true }, "Alt+J"],
  [{ ...NONE, key: ">", code: "Period", altKey: true, shiftKey: true }, "Alt+>"],
  [{ ...NONE, key: "z", code: "KeyY", ctrlKey: true }, "Ctrl+Z"],
  [{ ...NONE, key: "ArrowUp", code: "ArrowUp", shiftKey: true }, "Shift+ArrowUp"],
])("%j", (event, key) => {
  expect(keyOf(event)).toBe(key);
});

describe("bindings", () => {
  test("no key means two things in one place", () => {
    for (const scope of ["desk", "list", "history", "conflict"] as const) {
      const keys = BINDINGS.filter((one) => one.scope === scope || one.scope === "anywhere").flatMap(
        (one) => one.keys,
      );
      expect(new Set(keys).size, scope).toBe(keys.length);
    }
  });

  test("nothing in the text acts on a letter that is to be typed", () => {
    const keys = BINDINGS.filter((one) => one.scope === "text").flatMap((one) => one.keys);
    expect(keys.filter((key) => !/^(Ctrl|Alt)\+/.test(key))).toEqual(["Escape"]);
  });

  test("found by key and place", () => {
    expect(bindingFor("e", ["conflict", "anywhere"])?.command).toBe("merge");
    expect(bindingFor("e", ["desk", "anywhere"])?.command).toBe("edit");
    expect(bindingFor("e", [])).toBeNull();
  });
});

test("spelled for people", () => {
  expect(spelled("Ctrl+Shift+Z")).toBe("Ctrl Shift Z");
  expect(spelled("+")).toBe("+");
  expect(spelled("Shift+ArrowUp")).toBe("Shift ↑");
});
