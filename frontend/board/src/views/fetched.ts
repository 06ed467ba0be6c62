import { useCallback, useEffect, useMemo, useState } from "react";

import type { Post } from "../keep/thread.ts";
import type { Failure } from "../net/failure.ts";
import { asFailure } from "../net/failure.ts";
import { pauseBefore } from "../net/retry.ts";
import type { Place } from "../space.ts";

export interface Fetched<T> {
  value: T | null;
  failure: Failure | null;
  /** When it is asked for again by itself; null if it is not. */
  untilMs: number | null;
  again: () => void;
}

/** What the service is asked for while a view is shown; asked again where that may help. `ask` must stay the same. */
export function useFetched<T>(ask: () => Promise<T>): Fetched<T> {
  const [state, setState] = useState<Omit<Fetched<T>, "again">>({
    value: null,
    failure: null,
    untilMs: null,
  });
  const [round, setRound] = useState({ number: 0, tries: 1 });
  useEffect(() => {
    let left = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    ask().then(
      (value) => {
        if (!left) setState({ value, failure: null, untilMs: null });
      },
      (error: unknown) => {
        if (left) return;
        const failure = asFailure(error);
        const pauseS = pauseBefore(failure, round.tries);
        setState({ value: null, failure, untilMs: pauseS === null ? null : Date.now() + pauseS * 1000 });
        if (pauseS !== null)
          timer = setTimeout(() => {
            setRound({ number: round.number + 1, tries: round.tries + 1 });
          }, pauseS * 1000);
      },
    );
    return () => {
      left = true;
      clearTimeout(timer);
    };
  }, [ask, round]);
  const again = useCallback(() => {
    setRound(({ number }) => ({ number: number + 1, tries: 1 }));
  }, []);
  return { ...state, again };
}

/** The place of a post that a view has fetched, and changes by itself. */
export function useFetchedPlace(
  key: string,
  change: (key: string, fields: Partial<Post>) => void,
  removed: (key: string) => void,
): Place {
  return useMemo(
    () => ({
      thread: null,
      change: (fields) => {
        change(key, fields);
      },
      removed: () => {
        removed(key);
      },
    }),
    [key, change, removed],
  );
}
