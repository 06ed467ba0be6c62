import { useEffect, useMemo, useState } from "react";

import type { Session } from "../contract.ts";
import { Api } from "../net/api.ts";
import { type Tab, thisTab } from "../net/tab.ts";
import { Workspace } from "../workspace.ts";
import { Frame } from "./frame.tsx";
import { SignIn } from "./sign-in.tsx";

interface Start {
  api: Api;
  tab: Tab;
  session: Session;
}

/** The page: whoever is not signed in signs in, and then works in a `Workspace` of their own. */
export function App() {
  const [start, setStart] = useState<Start | null>(null);
  const [failed, setFailed] = useState(0);

  useEffect(() => {
    let stale = false;
    let retry: ReturnType<typeof setTimeout> | undefined;
    const api = new Api();
    Promise.all([thisTab(), api.session()]).then(
      ([tab, session]) => {
        if (!stale) setStart({ api, tab, session });
      },
      () => {
        if (!stale)
          retry = setTimeout(() => {
            setFailed((times) => times + 1);
          }, 1500);
      },
    );
    return () => {
      stale = true;
      clearTimeout(retry);
    };
  }, [failed]);

  const signedInAs = start?.session.signed_in ? start.session.person : null;
  const space = useMemo(
    () => (start && signedInAs !== null ? new Workspace(start.api, start.session, start.tab) : null),
    [start, signedInAs],
  );
  useEffect(() => {
    space?.start();
    return () => space?.stop();
  }, [space]);

  if (!start)
    return (
      <main className="centre">
        <p className="quiet" role="status">
          {failed > 0 ? "The server does not answer. Trying again…" : "Opening…"}
        </p>
      </main>
    );
  const signedIn = (session: Session) => {
    setStart({ ...start, session });
  };
  if (signedInAs === null)
    return (
      <main className="centre">
        <SignIn api={start.api} session={start.session} onSignedIn={signedIn} />
      </main>
    );
  return space && <Frame space={space} session={start.session} onSession={signedIn} />;
}
