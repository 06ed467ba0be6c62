/** Light, dark, or what the system says; and whether single letters are commands. Both stay in this browser. */

const THEME_KEY = "gtx:theme";
const LETTERS_KEY = "gtx:letters";

export type Theme = "system" | "light" | "dark";
const THEMES: readonly Theme[] = ["system", "light", "dark"];

export function readTheme(): Theme {
  const kept = localStorage.getItem(THEME_KEY);
  return THEMES.find((theme) => theme === kept) ?? "system";
}

export function applyTheme(theme: Theme): void {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

export function keepTheme(theme: Theme): void {
  localStorage.setItem(THEME_KEY, theme);
  applyTheme(theme);
}

export function themeAfter(theme: Theme): Theme {
  return THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? "system";
}

/** Speech input and some screen readers type letters that are no commands: then they can be switched off. */
export function lettersAreCommands(): boolean {
  return localStorage.getItem(LETTERS_KEY) !== "off";
}

export function setLettersAreCommands(on: boolean): void {
  localStorage.setItem(LETTERS_KEY, on ? "on" : "off");
}
