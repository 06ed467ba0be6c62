import { type SubmitEvent, useId, useState } from "react";

import type { Session } from "../contract.ts";
import { type Api, ApiError } from "../net/api.ts";
import { Logo } from "../parts/icons.tsx";

const LONGEST_NAME = 40;
const NAME_KEY = "gtx:name";

/** Asks for a name, and for the password where there is one. `again`: who was signed in, and has to be it again. */
export function SignIn(props: {
  api: Api;
  session: Session;
  again?: string;
  onSignedIn: (session: Session) => void;
}) {
  const [person, setPerson] = useState(props.again ?? localStorage.getItem(NAME_KEY) ?? "");
  const [password, setPassword] = useState("");
  const [error, setError] = useState("");
  const [busy, setBusy] = useState(false);
  const errorId = useId();

  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    if (busy) return;
    setBusy(true);
    setError("");
    props.api
      .signIn(person.trim(), password)
      .then(
        (session) => {
          localStorage.setItem(NAME_KEY, person.trim());
          props.onSignedIn(session);
        },
        (reason: unknown) => {
          setError(reason instanceof ApiError ? reason.message : "The server does not answer. Try again.");
        },
      )
      .finally(() => {
        setBusy(false);
      });
  };

  return (
    <form className="sign-in" onSubmit={submit}>
      <Logo />
      <h1>Greentext curation</h1>
      <p className="quiet">
        {props.again
          ? "Your session ended. What you typed is kept; sign in and it goes on."
          : "Your name stands beside what you decide."}
      </p>
      <label>
        Name
        <input
          autoFocus={props.again === undefined}
          required
          maxLength={LONGEST_NAME}
          autoComplete="username"
          readOnly={props.again !== undefined}
          value={person}
          onChange={(event) => {
            setPerson(event.target.value);
          }}
        />
      </label>
      {props.session.password_needed && (
        <label>
          Password
          <input
            type="password"
            required
            autoFocus={props.again !== undefined}
            autoComplete="current-password"
            aria-describedby={error ? errorId : undefined}
            value={password}
            onChange={(event) => {
              setPassword(event.target.value);
            }}
          />
        </label>
      )}
      {error && (
        <p className="alarm" role="alert" id={errorId}>
          {error}
        </p>
      )}
      <button type="submit" className="main" disabled={busy || person.trim() === ""}>
        Sign in
      </button>
    </form>
  );
}
