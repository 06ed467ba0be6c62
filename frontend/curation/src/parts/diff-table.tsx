import { useMemo } from "react";

import { diffCounts, diffTexts } from "../text/diff.ts";

const SIGNS = { same: " ", removed: "−", added: "+" } as const;
const SPOKEN = { same: "", removed: "removed: ", added: "added: " } as const;

/** Two texts compared: signs and words as well as colours tell what changed. */
export function DiffTable(props: { before: string; after: string; label: string; same?: string }) {
  const lines = useMemo(() => diffTexts(props.before, props.after), [props.before, props.after]);
  const { removed, added } = diffCounts(lines);
  if (removed + added === 0) return <p className="quiet">{props.same ?? "Nothing was changed."}</p>;
  return (
    <div className="diff" role="list" aria-label={`${props.label}: ${removed} lines taken, ${added} added`}>
      {lines.map((line, index) => (
        <div key={index} role="listitem" className={`diff-line ${line.kind}`}>
          <span className="diff-sign" aria-hidden="true">
            {SIGNS[line.kind]}
          </span>
          <span className="diff-text">
            {line.kind !== "same" && <span className="unseen">{SPOKEN[line.kind]}</span>}
            {line.parts.map((part, at) =>
              part.changed && line.kind === "removed" ? (
                <del key={at}>{part.text}</del>
              ) : part.changed && line.kind === "added" ? (
                <ins key={at}>{part.text}</ins>
              ) : (
                part.text
              ),
            )}
          </span>
        </div>
      ))}
    </div>
  );
}
