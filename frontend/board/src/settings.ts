/** What this browser remembers of how somebody likes it: the model, the values, light or dark, letters as commands. */

import type { Sampling } from "./contract.ts";
import type { Keeper } from "./keep/threads.ts";
import { Store } from "./store.ts";
import { KNOBS } from "./write/sampling.ts";

const KEY = "gtx-board:settings";

export type Theme = "system" | "light" | "dark";
const THEMES: readonly Theme[] = ["system", "light", "dark"];

export interface Settings {
  theme: Theme;
  letters: boolean;
  /** Null is the service's default. */
  model: string | null;
  sampling: Partial<Sampling>;
  seed: number | null;
}

const PLAIN: Settings = { theme: "system", letters: true, model: null, sampling: {}, seed: null };

export class SettingsStore extends Store<Settings> {
  readonly #keeper: Keeper | null;

  constructor(keeper: Keeper | null) {
    super(readSettings(keeper));
    this.#keeper = keeper;
  }

  override set(change: Partial<Settings>): void {
    super.set(change);
    try {
      this.#keeper?.setItem(KEY, JSON.stringify(this.get()));
    } catch {
      // Then it holds until the page is left.
    }
  }

  forget(): void {
    super.set({ ...PLAIN, theme: this.get().theme });
    try {
      this.#keeper?.removeItem(KEY);
    } catch {
      // As above.
    }
  }
}

export function readSettings(keeper: Keeper | null): Settings {
  let kept: Record<string, unknown> = {};
  try {
    const value: unknown = JSON.parse(keeper?.getItem(KEY) ?? "{}");
    if (typeof value === "object" && value !== null) kept = value as Record<string, unknown>;
  } catch {
    // What cannot be read is as good as nothing.
  }
  const values = (typeof kept.sampling === "object" && kept.sampling) as
    Record<string, unknown> | false | null;
  const sampling: Partial<Sampling> = {};
  for (const { knob, least, most } of KNOBS) {
    const value = values ? values[knob] : undefined;
    if (typeof value === "number" && value >= least && value <= most) sampling[knob] = value;
  }
  return {
    theme: THEMES.find((theme) => theme === kept.theme) ?? PLAIN.theme,
    letters: kept.letters !== false,
    model: typeof kept.model === "string" ? kept.model : null,
    sampling,
    seed: Number.isSafeInteger(kept.seed) && (kept.seed as number) >= 0 ? (kept.seed as number) : null,
  };
}

export function applyTheme(theme: Theme): void {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

export function themeAfter(theme: Theme): Theme {
  return THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? "system";
}
