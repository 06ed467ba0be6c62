import { useState } from "react";

import { BINDINGS, SCOPE_TITLES, type Scope, spelled } from "../keymap.ts";
import { Dialog } from "../parts/dialog.tsx";
import { lettersAreCommands, setLettersAreCommands } from "../theme.ts";

const SCOPES = Object.keys(SCOPE_TITLES) as Scope[];

/** All keys on one sheet. */
export function Help(props: { onClose: () => void }) {
  const [letters, setLetters] = useState(lettersAreCommands);
  return (
    <Dialog title="Keys" onClose={props.onClose} wide>
      <div className="help">
        {SCOPES.map((scope) => (
          <section key={scope}>
            <h3>{SCOPE_TITLES[scope]}</h3>
            <dl>
              {BINDINGS.filter((binding) => binding.scope === scope).map((binding) => (
                <div key={binding.command}>
                  <dt>
                    {binding.keys.map((key) => (
                      <kbd key={key}>{spelled(key)}</kbd>
                    ))}
                  </dt>
                  <dd>{binding.does}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
      </div>
      <label className="check">
        <input
          type="checkbox"
          checked={letters}
          onChange={(event) => {
            setLetters(event.target.checked);
            setLettersAreCommands(event.target.checked);
          }}
        />
        Single letters are commands (switch off for speech input; chords and buttons go on working)
      </label>
    </Dialog>
  );
}
