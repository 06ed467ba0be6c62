import { describe, expect, test } from "vitest";

import { BINDINGS, commandFor, keyOf, spelled } from "./keymap.ts";

const press = (key: string, more = {}) => ({ key, ctrlKey: false, metaKey: false, altKey: false, ...more });

test("no key means two things, and each command has one", () => {
  const keys = BINDINGS.flatMap((binding) => binding.keys);
  expect(new Set(keys).size).toBe(keys.length);
  expect(keyOf("write")).toBe("w");
  expect(spelled("Escape")).toBe("Esc");
});

describe("keys", () => {
  test("do what they say on the page and on its buttons", () => {
    for (const { command, keys } of BINDINGS)
      for (const key of keys) expect(commandFor(press(key), "page")).toBe(command);
    expect(commandFor(press("r"), "control")).toBe("retry");
  });

  test("Enter belongs to the button that has the focus", () => {
    expect(commandFor(press("Enter"), "page")).toBe("write");
    expect(commandFor(press("Enter"), "control")).toBeNull();
  });

  test("are letters while somebody types, but for Escape", () => {
    for (const { command, keys } of BINDINGS)
      for (const key of keys)
        expect(commandFor(press(key), "field")).toBe(command === "stop" ? "stop" : null);
  });

  test("are the browser's with Ctrl, Alt or ⌘, and not repeated when held", () => {
    expect(commandFor(press("r", { ctrlKey: true }), "page")).toBeNull();
    expect(commandFor(press("r", { metaKey: true }), "page")).toBeNull();
    expect(commandFor(press("d", { altKey: true }), "page")).toBeNull();
    expect(commandFor(press("w", { repeat: true }), "page")).toBeNull();
  });

  test("can be switched off, but for Escape", () => {
    expect(commandFor(press("w"), "page", false)).toBeNull();
    expect(commandFor(press("Escape"), "page", false)).toBe("stop");
  });
});
