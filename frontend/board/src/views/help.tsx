import { BINDINGS, type Binding, GROUPS, spelled } from "../keymap.ts";
import { Dialog } from "../parts/dialog.tsx";
import { useSpace } from "../space.ts";
import { useStore } from "../store.ts";

const ABOUT = Object.keys(GROUPS) as Binding["about"][];

/** All keys on one sheet. */
export function Help(props: { onClose: () => void }) {
  const space = useSpace();
  const { letters } = useStore(space.settings);
  return (
    <Dialog title="Keys" onClose={props.onClose}>
      <div className="help">
        {ABOUT.map((about) => (
          <section key={about}>
            <h3>{GROUPS[about]}</h3>
            <dl>
              {BINDINGS.filter((binding) => binding.about === about).map(({ command, keys, does }) => (
                <div key={command}>
                  <dt>
                    {keys.map((key) => (
                      <kbd key={key}>{spelled(key)}</kbd>
                    ))}
                  </dt>
                  <dd>{does}</dd>
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
            space.settings.set({ letters: event.target.checked });
          }}
        />
        Single keys are commands (switch off for speech input; Esc and all buttons go on working)
      </label>
    </Dialog>
  );
}
