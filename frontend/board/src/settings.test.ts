import { expect, test } from "vitest";

import { MemoryKeeper } from "./keep/memory-keeper.ts";
import { SettingsStore, readSettings } from "./settings.ts";

test("kept, and read again", () => {
  const keeper = new MemoryKeeper();
  new SettingsStore(keeper).set({ theme: "dark", seed: 7, sampling: { temperature: 0.3 }, letters: false });
  expect(readSettings(keeper)).toEqual({
    theme: "dark",
    letters: false,
    model: null,
    sampling: { temperature: 0.3 },
    seed: 7,
  });
});

test("what cannot be is left out, value by value", () => {
  const keeper = new MemoryKeeper();
  const kept = { theme: "pink", model: 7, seed: -1, sampling: { temperature: 99, top_k: "5", min_p: 0.1 } };
  keeper.setItem("gtx-board:settings", JSON.stringify(kept));
  expect(readSettings(keeper)).toEqual({
    theme: "system",
    letters: true,
    model: null,
    sampling: { min_p: 0.1 },
    seed: null,
  });
  keeper.setItem("gtx-board:settings", "[");
  expect(readSettings(keeper).theme).toBe("system");
  expect(readSettings(null).theme).toBe("system");
});

test("forgetting leaves the colours", () => {
  const keeper = new MemoryKeeper();
  const settings = new SettingsStore(keeper);
  settings.set({ theme: "dark", seed: 7 });
  settings.forget();
  expect(settings.get()).toMatchObject({ theme: "dark", seed: null });
  expect(keeper.length).toBe(0);
});
