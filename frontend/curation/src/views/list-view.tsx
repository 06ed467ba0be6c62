import { useCallback, useEffect, useRef, useState } from "react";

import { useCommands } from "../commands.ts";
import type { Page, Summary } from "../contract.ts";
import { count } from "../desk/words.ts";
import type { Filter } from "../filter.ts";
import { KeyButton } from "../parts/key-button.tsx";
import { go } from "../routes.ts";
import { useSpace } from "../space-context.ts";
import { DOUBTFUL_BELOW } from "../text/doubts.ts";
import { ListFilter } from "./list-filter.tsx";

interface Shown {
  page: Page;
  /** Where this page and the ones before it begin. */
  cursors: (string | null)[];
}

/** Rows by queue and filter, 60 at a time. */
export function ListView({ filter, searching }: { filter: Filter; searching: boolean }) {
  const space = useSpace();
  const { api } = space;
  const [shown, setShown] = useState<Shown | null>(null);
  const [failed, setFailed] = useState(false);
  const [at, setAt] = useState(0);
  const [beganSearching] = useState(searching);
  const root = useRef<HTMLElement>(null);
  const table = useRef<HTMLUListElement>(null);
  const ahead = useRef<{ cursor: string; page: Promise<Page> } | null>(null);
  const ticket = useRef(0);

  const load = useCallback(
    async (cursors: (string | null)[]) => {
      const mine = ++ticket.current;
      const cursor = cursors.at(-1) ?? null;
      try {
        const fetched = ahead.current?.cursor === cursor ? ahead.current.page : api.rows(filter, cursor);
        const page = await fetched;
        if (mine !== ticket.current) return;
        setShown({ page, cursors });
        setFailed(false);
        setAt(0);
        table.current?.parentElement?.scrollTo(0, 0);
        if (page.next !== null) {
          const next = api.rows(filter, page.next);
          next.catch(() => (ahead.current = null));
          ahead.current = { cursor: page.next, page: next };
        }
      } catch {
        if (mine === ticket.current) setFailed(true);
      }
    },
    [api, filter],
  );
  useEffect(() => {
    ahead.current = null;
    void load([null]);
  }, [load]);
  useEffect(() => {
    const first = beganSearching ? root.current?.querySelector<HTMLElement>("#search") : root.current;
    first?.focus({ preventScroll: true });
  }, [beganSearching]);
  useEffect(() => {
    table.current?.children[at]?.scrollIntoView({ block: "nearest" });
  }, [at]);

  const rows = shown?.page.rows ?? [];
  const open = (row: Summary | undefined) => {
    if (row) go({ name: "desk", id: row.id }, filter);
  };
  useCommands({
    search: () => root.current?.querySelector<HTMLElement>("#search")?.focus(),
    rowDown: () => {
      setAt(Math.min(rows.length - 1, at + 1));
    },
    rowUp: () => {
      setAt(Math.max(0, at - 1));
    },
    open: () => {
      open(rows[at]);
    },
    pageNext: () => {
      if (shown && shown.page.next !== null) void load([...shown.cursors, shown.page.next]);
    },
    pagePrevious: () => {
      if (shown && shown.cursors.length > 1) void load(shown.cursors.slice(0, -1));
    },
  });

  const number = shown?.cursors.length ?? 1;
  return (
    <main className="list" ref={root} tabIndex={-1} aria-label="List of rows">
      <ListFilter filter={filter} />
      <div className="list-head">
        <p role="status">
          {failed
            ? "The list comes when the server answers."
            : shown
              ? `${count(shown.page.total, "row")}, page ${number} of ${Math.max(1, Math.ceil(shown.page.total / 60))}`
              : "Looking…"}
        </p>
        <KeyButton command="pagePrevious" scope="list" disabled={number === 1}>
          Previous
        </KeyButton>
        <KeyButton command="pageNext" scope="list" disabled={shown?.page.next == null}>
          Next
        </KeyButton>
      </div>
      <div className="list-rows">
        <ul ref={table} aria-label="Rows">
          {rows.map((row, index) => (
            <li
              key={row.id}
              className={index === at ? "current" : ""}
              aria-current={index === at ? "true" : undefined}
            >
              <button
                type="button"
                className={`list-row queue-${row.queue}`}
                onFocus={() => {
                  setAt(index);
                }}
                onClick={() => {
                  open(row);
                }}
              >
                <span className="list-id">#{row.id}</span>
                <span className="list-text">{row.excerpt.replaceAll("\n", " ")}</span>
                <span className="list-marks">
                  <Marks row={row} person={space.person} />
                </span>
              </button>
            </li>
          ))}
        </ul>
        {shown && rows.length === 0 && <p className="quiet centre">No row is like that.</p>}
      </div>
    </main>
  );
}

function Marks({ row, person }: { row: Summary; person: string }) {
  return (
    <>
      {row.held_by && row.held_by !== person && <span className="chip">{row.held_by} is at it</span>}
      {row.has_draft && <span className="chip picked">draft</span>}
      {row.warnings.map((category) => (
        <span key={category} className="chip warn">
          {category.replaceAll("_", " ")}
        </span>
      ))}
      {row.problems > 0 && <span className="chip alarm">{count(row.problems, "problem")}</span>}
      {row.confidence !== null && (
        <span className={row.confidence < DOUBTFUL_BELOW ? "chip doubt" : "chip"}>
          {Math.round(row.confidence * 100)} %
        </span>
      )}
      <span className="quiet">
        {row.lines} lines · {row.source}
        {row.genre && ` · ${row.genre}`}
      </span>
    </>
  );
}
