import { useState } from "react";

import mascot from "../mascot.svg";
import { type View, go, hashOf } from "../routes.ts";
import { applyTheme, themeAfter } from "../settings.ts";
import { useSpace } from "../space.ts";
import { useStore } from "../store.ts";
import { TAGLINES, pick } from "../write/beginnings.ts";

const PLACES: readonly { label: string; view: View; with: readonly View["name"][] }[] = [
  { label: "Write", view: { name: "write" }, with: ["write", "again"] },
  { label: "Your threads", view: { name: "threads" }, with: ["threads", "thread"] },
  { label: "Board", view: { name: "board", order: "recent" }, with: ["board", "post"] },
  { label: "About", view: { name: "about" }, with: ["about"] },
];

export function Head({ view, onHelp }: { view: View; onHelp: () => void }) {
  const [tagline, setTagline] = useState(() => pick(TAGLINES));
  return (
    <header className="head">
      <div className="bar">
        <nav aria-label="Board">
          <ul>
            {PLACES.map(({ label, view: to, with: names }) => (
              <li key={label}>
                <a href={hashOf(to)} aria-current={names.includes(view.name) ? "page" : undefined}>
                  {label}
                </a>
              </li>
            ))}
          </ul>
        </nav>
        <div className="bar-tools">
          <ThemeButton />
          <button type="button" className="link" onClick={onHelp} title="Keys (?)" aria-label="Keys">
            ?
          </button>
        </div>
      </div>
      <div className="sign">
        <button
          type="button"
          className="mascot"
          aria-label="Another motto"
          onClick={() => {
            setTagline(pick(TAGLINES, tagline));
          }}
        >
          <img src={mascot} alt="" width="72" height="72" />
        </button>
        <div>
          <h1>/wg/ - Wholesome Greentext</h1>
          <p className="tagline">{tagline}</p>
        </div>
      </div>
    </header>
  );
}

const THEME_WORDS = { system: "as the system", light: "light", dark: "dark" } as const;

function ThemeButton() {
  const space = useSpace();
  const { theme } = useStore(space.settings);
  return (
    <button
      type="button"
      className="link"
      title={`Colours: ${THEME_WORDS[theme]}`}
      aria-label={`Colours: ${THEME_WORDS[theme]}`}
      onClick={() => {
        const next = themeAfter(theme);
        space.settings.set({ theme: next });
        applyTheme(next);
        space.say(`Colours: ${THEME_WORDS[next]}.`);
      }}
    >
      <svg viewBox="0 0 20 20" width="16" height="16" aria-hidden="true" className={`theme-${theme}`}>
        <circle cx="10" cy="10" r="7" fill="none" stroke="currentColor" strokeWidth="2" />
        {theme !== "light" && (
          <path
            d={theme === "dark" ? "M10 3a7 7 0 0 0 0 14a7 7 0 0 0 0-14" : "M10 3a7 7 0 0 0 0 14z"}
            fill="currentColor"
          />
        )}
      </svg>
    </button>
  );
}

export function Foot({ view }: { view: View }) {
  const space = useSpace();
  return (
    <footer className="foot">
      <p>
        All texts are made up by a small model. It means well. <a href="#/about">What it is, what is kept</a>{" "}
        · <a href="/docs">API</a>
      </p>
      {view.name !== "write" && (
        <button
          type="button"
          className="big afloat"
          onClick={() => {
            go({ name: "write" });
            void space.writeOne();
          }}
        >
          Write one
        </button>
      )}
    </footer>
  );
}
