import { type Failure, inWords } from "../net/failure.ts";
import { Countdown } from "../parts/countdown.tsx";

interface TroubleProps {
  failure: Failure;
  untilMs: number | null;
  again: () => void;
  /** Instead of the failure's own words. */
  words?: string | undefined;
}

/** Why there is nothing to show, and when it is tried again. */
export function Trouble({ failure, untilMs, again, words }: TroubleProps) {
  return (
    <p className="trouble" role="status">
      {words ?? inWords(failure)}{" "}
      {untilMs !== null && (
        <>
          It is tried again <Countdown key={untilMs} untilMs={untilMs} />.{" "}
        </>
      )}
      <button type="button" className="link strong" onClick={again}>
        Try now
      </button>
    </p>
  );
}

/** In words that fit what is kept, rather than the writing. */
export function keptWords(failure: Failure): string | undefined {
  if (failure.kind === "starting")
    return "What is kept cannot be reached now. Texts are written all the same.";
  if (failure.kind === "full") return "That was too often for a moment.";
  return undefined;
}
