import { duration } from "../desk/words.ts";
import { useSpace } from "../space-context.ts";
import { useStore } from "../store.ts";
import { SaveMark } from "./save-mark.tsx";

/** How far the work is, how fast it goes, and what happened last. */
export function StatusBar() {
  const space = useSpace();
  const { progress, said, waiting, reached } = useStore(space.state);
  const done = progress ? progress.total - progress.todo : 0;
  return (
    <footer className="status">
      <p className={said.alarm ? "said alarm" : "said"}>
        <span
          key={said.stamp}
          role={said.alarm ? "alert" : "status"}
          aria-live={said.alarm ? "assertive" : "polite"}
        >
          {said.text}
        </span>
      </p>
      <SaveMark />
      {waiting > 0 && (
        <span className="waiting">
          {waiting} {reached ? "on the way" : "kept here"}
        </span>
      )}
      {progress && (
        <>
          <progress
            aria-label={`${done} of ${progress.total} rows decided`}
            max={Math.max(1, progress.total)}
            value={done}
          />
          <span className="counts">
            <b>{progress.todo.toLocaleString("en")}</b> left of {progress.total.toLocaleString("en")}
          </span>
          <span className="pace">
            {progress.pace_per_hour > 0 && `${Math.round(progress.pace_per_hour)}/h`}
            {progress.left_hours !== null && progress.todo > 0 && ` · ${duration(progress.left_hours)} left`}
          </span>
          <span className="today">{progress.mine_today} today</span>
        </>
      )}
    </footer>
  );
}
