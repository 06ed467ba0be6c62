import { inWords } from "../net/failure.ts";
import { Countdown } from "../parts/countdown.tsx";
import { useOnline } from "../parts/online.ts";
import { useSpace } from "../space.ts";
import { useStore } from "../store.ts";

/** What holds for the whole page: no network, no service, a browser that keeps nothing. */
export function Banners() {
  const space = useSpace();
  const online = useOnline();
  const { failure, untilMs, wanted } = useStore(space.models);
  const { keeps } = useStore(space.threads.state);
  return (
    <div className="banners" role="status">
      {!online && <p>You are offline. What you have is here; new texts have to wait until you are back.</p>}
      {failure && (
        <p>
          {inWords(failure)} {wanted ? "Your text is written as soon as it answers. " : ""}It is asked again{" "}
          <Countdown key={untilMs} untilMs={untilMs} />.{" "}
          <button
            type="button"
            className="link"
            onClick={() => {
              space.tryNow();
            }}
          >
            Ask now
          </button>
        </p>
      )}
      {!keeps && (
        <p>This browser keeps nothing (it is full, or told so): your threads last as long as this page.</p>
      )}
    </div>
  );
}
