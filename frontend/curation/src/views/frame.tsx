import { useEffect, useMemo, useState } from "react";

import { Commands, CommandsContext, useCommands } from "../commands.ts";
import type { Session } from "../contract.ts";
import { bindingFor, keyOf, type Scope } from "../keymap.ts";
import { Dialog } from "../parts/dialog.tsx";
import { Logo } from "../parts/icons.tsx";
import { followAddress, go, route } from "../routes.ts";
import { SpaceContext } from "../space-context.ts";
import { useStore } from "../store.ts";
import { keepTheme, lettersAreCommands, readTheme, themeAfter } from "../theme.ts";
import type { Workspace } from "../workspace.ts";
import { Banners } from "./banners.tsx";
import { DeskView } from "./desk-view.tsx";
import { Help } from "./help.tsx";
import { HistoryView } from "./history-view.tsx";
import { ListView } from "./list-view.tsx";
import { SignIn } from "./sign-in.tsx";
import { StatusBar } from "./status-bar.tsx";

interface FrameProps {
  space: Workspace;
  session: Session;
  onSession: (session: Session) => void;
}

/** What stands around every view: head, banners, status, keys, the help sheet. */
export function Frame(props: FrameProps) {
  const commands = useMemo(() => new Commands(), []);
  return (
    <SpaceContext value={props.space}>
      <CommandsContext value={commands}>
        <Inside {...props} commands={commands} />
      </CommandsContext>
    </SpaceContext>
  );
}

function Inside({ space, session, onSession, commands }: FrameProps & { commands: Commands }) {
  const { view, filter } = useStore(route);
  const { signedOut, stuck } = useStore(space.state);
  const [helping, setHelping] = useState(false);

  useEffect(() => followAddress(), []);
  useKeys(commands, space);
  useEffect(() => {
    // An alarm is about the view that it was raised in.
    if (space.state.get().said.alarm) space.say("");
  }, [space, view.name]);
  useCommands({
    help: () => {
      setHelping(true);
    },
    list: () => {
      go({ name: "list" });
    },
    desk: () => {
      go({ name: "desk", id: space.desk.rowId });
    },
    search: () => {
      go({ name: "list", searching: true });
    },
    history: () => {
      if (space.desk.rowId !== null) go({ name: "history", id: space.desk.rowId });
    },
    attend: () => {
      const [first] = stuck;
      if (!first) {
        space.say("No decision waits for you.");
        return;
      }
      go({ name: "desk", id: first.entry.row_id });
      space.desk.inTurn(() => space.desk.decisions.attend(first));
    },
  });

  return (
    <div className="frame">
      <Head
        space={space}
        onHelp={() => {
          setHelping(true);
        }}
        onSignOut={() => {
          space.api.signOut().then(
            () => {
              onSession({ ...session, signed_in: false, person: null });
            },
            () => {
              space.say("The server does not answer: you are still signed in.", true);
            },
          );
        }}
      />
      <Banners />
      {view.name === "desk" && <DeskView id={view.id} filter={filter} />}
      {view.name === "list" && <ListView filter={filter} searching={view.searching ?? false} />}
      {view.name === "history" && <HistoryView key={view.id} id={view.id} />}
      <StatusBar />
      {helping && (
        <Help
          onClose={() => {
            setHelping(false);
          }}
        />
      )}
      {signedOut && (
        <Dialog title="Sign in again" onClose={() => undefined}>
          <SignIn
            api={space.api}
            session={session}
            again={space.person}
            onSignedIn={() => {
              space.signedIn();
            }}
          />
        </Dialog>
      )}
    </div>
  );
}

function Head({ space, onHelp, onSignOut }: { space: Workspace; onHelp: () => void; onSignOut: () => void }) {
  const { view } = useStore(route);
  const [theme, setTheme] = useState(readTheme);
  const here = (name: string) => (view.name === name ? ("page" as const) : undefined);
  return (
    <header className="head">
      <Logo />
      <h1 className="unseen">Greentext curation</h1>
      <nav aria-label="Views">
        <button
          type="button"
          className="plain"
          aria-current={here("desk")}
          onClick={() => {
            go({ name: "desk", id: space.desk.rowId });
          }}
        >
          Desk
        </button>
        <button
          type="button"
          className="plain"
          aria-current={here("list")}
          onClick={() => {
            go({ name: "list" });
          }}
        >
          List <kbd aria-hidden="true">l</kbd>
        </button>
        <button
          type="button"
          className="plain"
          aria-current={here("history")}
          onClick={() => {
            if (space.desk.rowId !== null) go({ name: "history", id: space.desk.rowId });
          }}
        >
          History <kbd aria-hidden="true">h</kbd>
        </button>
      </nav>
      <div className="head-end">
        <button
          type="button"
          className="plain"
          aria-label={`Colours: ${theme}`}
          title={`Colours: ${theme}`}
          onClick={() => {
            const next = themeAfter(theme);
            keepTheme(next);
            setTheme(next);
          }}
        >
          <span aria-hidden="true">{theme === "dark" ? "☾" : theme === "light" ? "☀" : "◐"}</span>
        </button>
        <button type="button" className="plain" onClick={onHelp}>
          Keys <kbd aria-hidden="true">?</kbd>
        </button>
        <span className="person" title="Signed in">
          {space.person}
        </span>
        <button type="button" className="plain" onClick={onSignOut}>
          Sign out
        </button>
      </div>
    </header>
  );
}

/** Keys become commands: which ones depends on where the focus is and what is shown. */
function useKeys(commands: Commands, space: Workspace): void {
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (event.isComposing || event.defaultPrevented || event.getModifierState("AltGraph")) return;
      if (document.querySelector("dialog[open]")) return;
      const scopes = scopesAt(event.target, space);
      const key = keyOf(event);
      const binding = bindingFor(key, scopes);
      if (!binding || (event.repeat && !binding.repeats)) return;
      if (key.length === 1 && !scopes.includes("text") && !lettersAreCommands()) return;
      if ((key === "Enter" || key === "Escape") && isControl(event.target) && !scopes.includes("text"))
        return;
      if (commands.run(binding.command)) event.preventDefault();
    };
    window.addEventListener("keydown", press);
    return () => {
      window.removeEventListener("keydown", press);
    };
  }, [commands, space]);
}

function scopesAt(target: EventTarget | null, space: Workspace): Scope[] {
  if (target instanceof HTMLTextAreaElement && target.classList.contains("editor-text")) return ["text"];
  if (
    target instanceof HTMLInputElement ||
    target instanceof HTMLTextAreaElement ||
    target instanceof HTMLSelectElement
  )
    return [];
  const { view } = route.get();
  if (view.name !== "desk") return [view.name, "anywhere"];
  return [space.desk.state.get().conflict ? "conflict" : "desk", "anywhere"];
}

function isControl(target: EventTarget | null): boolean {
  return target instanceof Element && target.closest("button, a, summary") !== null;
}
