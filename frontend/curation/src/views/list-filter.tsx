import { useEffect, useRef, useState } from "react";

import type { Progress } from "../contract.ts";
import { QUEUE_WORDS } from "../desk/words.ts";
import { type Filter, NO_FILTER, filterWords } from "../filter.ts";
import { stay } from "../routes.ts";
import { useSpace } from "../space-context.ts";
import { useStore } from "../store.ts";

const QUEUES = ["todo", "accepted", "rejected", "skipped", "all"] as const;
const CATEGORIES = ["slur", "sexual", "violent", "hateful", "self_harm", "personal_data", "profanity"];
const SEARCH_AFTER_MS = 200;

/** Queue tabs with counts, search, and what else narrows the list; all of it is in the address. */
export function ListFilter({ filter }: { filter: Filter }) {
  const { progress, facets } = useStore(useSpace().state);
  const [search, setSearch] = useState(filter.search);
  const [wide] = useState(() => window.matchMedia("(min-width: 761px)").matches);
  const field = useRef<HTMLInputElement>(null);
  const change = (part: Partial<Filter>) => {
    stay({ name: "list" }, { ...filter, ...part });
  };

  useEffect(() => {
    if (search === filter.search) return;
    const timer = setTimeout(() => {
      stay({ name: "list" }, { ...filter, search });
    }, SEARCH_AFTER_MS);
    return () => {
      clearTimeout(timer);
    };
  }, [search, filter]);

  return (
    <div className="list-filter">
      <div className="tabs" role="group" aria-label="Queues">
        {QUEUES.map((queue) => (
          <button
            key={queue}
            type="button"
            aria-pressed={filter.queue === queue}
            onClick={() => {
              change({ queue });
            }}
          >
            {QUEUE_WORDS[queue]} <span className="number">{countOf(progress, queue)}</span>
          </button>
        ))}
      </div>
      <form
        role="search"
        onSubmit={(event) => {
          event.preventDefault();
          change({ search });
          field.current?.blur();
          document.querySelector<HTMLElement>("main")?.focus();
        }}
      >
        <label className="search">
          <span className="unseen">Search in texts</span>
          <input
            id="search"
            ref={field}
            type="search"
            maxLength={200}
            placeholder="Search in texts  ( / )"
            value={search}
            onChange={(event) => {
              setSearch(event.target.value);
            }}
            onKeyDown={(event) => {
              if (event.key !== "Escape") return;
              event.preventDefault();
              document.querySelector<HTMLElement>("main")?.focus();
            }}
          />
        </label>
        <details className="narrow" open={wide || filterWords({ ...filter, search: "" }) !== ""}>
          <summary>Filters</summary>
          <div className="selects">
            <Select
              label="Source"
              value={filter.source}
              options={facets?.sources ?? []}
              onPick={(source) => {
                change({ source });
              }}
            />
            <Select
              label="Genre"
              value={filter.genre}
              options={facets?.genres ?? []}
              onPick={(genre) => {
                change({ genre });
              }}
            />
            <Select
              label="Confidence"
              value={filter.below_confidence}
              options={["0.6", "0.75", "0.85", "0.95"]}
              spell={(value) => `below ${Math.round(Number(value) * 100)} %`}
              onPick={(below_confidence) => {
                change({ below_confidence });
              }}
            />
            <Select
              label="Warning"
              value={filter.warning}
              options={["any", ...CATEGORIES]}
              spell={(value) => value.replaceAll("_", " ")}
              onPick={(warning) => {
                change({ warning });
              }}
            />
            <Select
              label="Problems"
              value={filter.problem}
              options={["any"]}
              onPick={(problem) => {
                change({ problem });
              }}
            />
            <label className="select">
              <span>Order</span>
              <select
                value={filter.order}
                onChange={(event) => {
                  change({ order: event.target.value as Filter["order"] });
                }}
              >
                <option value="imported">as imported</option>
                <option value="confidence">least sure first</option>
                <option value="changed">changed last first</option>
              </select>
            </label>
          </div>
        </details>
        {filterWords(filter) !== "" && (
          <button
            type="button"
            onClick={() => {
              setSearch("");
              stay({ name: "list" }, { ...NO_FILTER, queue: filter.queue, order: filter.order });
            }}
          >
            Clear
          </button>
        )}
      </form>
    </div>
  );
}

function Select(props: {
  label: string;
  value: string;
  options: string[];
  spell?: (value: string) => string;
  onPick: (value: string) => void;
}) {
  const spell = props.spell ?? ((value: string) => value);
  return (
    <label className="select">
      <span>{props.label}</span>
      <select
        value={props.value}
        onChange={(event) => {
          props.onPick(event.target.value);
        }}
      >
        <option value="">all</option>
        {props.options.map((option) => (
          <option key={option} value={option}>
            {spell(option)}
          </option>
        ))}
      </select>
    </label>
  );
}

function countOf(progress: Progress | null, queue: (typeof QUEUES)[number]): string {
  return progress ? progress[queue === "all" ? "total" : queue].toLocaleString("en") : "";
}
