import { createElement } from "react";

import type { Block, Inline } from "../text/markdown.ts";

/** Parsed Markdown as elements, its headings below one of the page's own. */
export function Markdown({ blocks, below }: { blocks: Block[]; below: number }) {
  const levels = blocks.flatMap((block) => (block.kind === "heading" ? [block.level] : []));
  const shift = below + 1 - Math.min(...levels);
  return (
    <div className="markdown">
      {blocks.map((block, index) => (
        <BlockView key={index} block={block} shift={shift} />
      ))}
    </div>
  );
}

function BlockView({ block, shift }: { block: Block; shift: number }) {
  switch (block.kind) {
    case "heading":
      return createElement(`h${Math.min(6, block.level + shift)}`, null, <Inlines inside={block.inside} />);
    case "paragraph":
      return (
        <p>
          <Inlines inside={block.inside} />
        </p>
      );
    case "code":
      return (
        <pre tabIndex={0}>
          <code>{block.text}</code>
        </pre>
      );
    case "list":
      return createElement(
        block.ordered ? "ol" : "ul",
        null,
        block.items.map((item, index) => (
          <li key={index}>
            <Inlines inside={item} />
          </li>
        )),
      );
    case "table":
      return (
        <div className="table" tabIndex={0} role="region" aria-label="Table">
          <table>
            <thead>
              <tr>
                {block.head.map((cell, column) =>
                  cell.length > 0 ? (
                    <th key={column} scope="col" className={block.right[column] ? "right" : undefined}>
                      <Inlines inside={cell} />
                    </th>
                  ) : (
                    <td key={column} />
                  ),
                )}
              </tr>
            </thead>
            <tbody>
              {block.rows.map((row, index) => (
                <tr key={index}>
                  {row.map((cell, column) => (
                    <td key={column} className={block.right[column] ? "right" : undefined}>
                      <Inlines inside={cell} />
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      );
  }
}

function Inlines({ inside }: { inside: Inline[] }) {
  return inside.map((part, index) => <InlineView key={index} part={part} />);
}

function InlineView({ part }: { part: Inline }) {
  switch (part.kind) {
    case "text":
      return part.text;
    case "code":
      return <code>{part.text}</code>;
    case "strong":
      return (
        <strong>
          <Inlines inside={part.inside} />
        </strong>
      );
    case "em":
      return (
        <em>
          <Inlines inside={part.inside} />
        </em>
      );
    case "link":
      return (
        <a href={part.to} rel="noopener noreferrer" target="_blank">
          <Inlines inside={part.inside} />
        </a>
      );
  }
}
