import { useEffect } from "react";

import type { ModelInfo } from "../contract.ts";
import { SureButton } from "../parts/sure-button.tsx";
import { useSpace } from "../space.ts";
import { useStore } from "../store.ts";
import { MEASURES, MEASURE_WORDS, figuresOf } from "../text/figures.ts";
import { blocksOf } from "../text/markdown.ts";
import { Markdown } from "./markdown.tsx";

/** What writes here, how well, what is kept, and how to be rid of it. */
export function AboutView() {
  const space = useSpace();
  const { list } = useStore(space.models);
  useEffect(() => {
    void space.refreshModels();
  }, [space]);
  return (
    <div className="about">
      <h2>About</h2>
      <p>
        A greentext is a little story in lines that begin with <span className="quote">&gt;</span>, told in
        the present and with few words. Here a small language model writes them. It runs on an ordinary
        processor, it has learned from kind texts only, and it understands nothing: what it says happened to
        nobody.
      </p>
      <p>
        The number of a post is its seed. The same beginning, values and seed give the same text, so a link
        can show somebody your text without holding it: it is written once more, before their eyes.
      </p>
      <h3>What is kept, and how to be rid of it</h3>
      <ul>
        <li>
          In this browser: your threads and how you have set the page. No account, no tracking, nothing from
          other sites.
        </li>
        <li>
          On the service: what was written, with which beginning and values, and whether it was called good or
          bad. A cookie (<code>gtx_session</code>) made of chance, set when you first write, rate or open the
          board, makes them yours. No address and no browser’s name is kept. What is old is deleted by itself,
          after 30 days unless whoever runs this has set another time.
        </li>
        <li>Others see a text only if you put it on the board, and only until you take it off.</li>
        <li>Deleting a post or a thread deletes it here and on the service.</li>
      </ul>
      <p>
        <SureButton
          className="act"
          sure="Really forget everything?"
          onSure={() => void space.forgetEverything()}
        >
          Forget everything: threads, ratings, cookie
        </SureButton>
      </p>
      <h3>For programs</h3>
      <p>
        Everything this page does goes through an <a href="/docs">API</a> that others may use as well, also in
        the words of OpenAI’s and Hugging Face’s clients.
      </p>
      {list === null && <p className="quiet">The models are told as soon as the service answers.</p>}
      {list?.map((model) => (
        <ModelCard key={model.name} model={model} />
      ))}
    </div>
  );
}

function ModelCard({ model }: { model: ModelInfo }) {
  const figures = figuresOf(model.evaluation);
  return (
    <section className="model-card" aria-label={`Model ${model.name}`}>
      <h3>
        The model {model.name}
        {model.default && <span className="quiet"> (the default)</span>}
      </h3>
      <p>{model.description}</p>
      <dl className="facts">
        <Fact name="Base" value={model.base_model} />
        <Fact name="Architecture" value={model.architecture} />
        <Fact name="Weights" value={model.precision} />
        <Fact name="Longest text" value={`${model.context_length} tokens`} />
        <Fact name="Vocabulary" value={`${model.vocab_size.toLocaleString("en")} tokens`} />
        <Fact name="Licence" value={model.license} />
        {model.edition !== undefined && <Fact name="Edition" value={model.edition} />}
        {figures.others.map(({ name, value }) => (
          <Fact key={name} name={name} value={value} />
        ))}
      </dl>
      {figures.sets.length > 0 && (
        <div className="table" tabIndex={0} role="region" aria-label={`How well ${model.name} does`}>
          <table>
            <caption>
              How well it knows what it has not seen (fewer bits and less perplexity are better)
            </caption>
            <thead>
              <tr>
                <th scope="col">Held-out texts</th>
                {MEASURES.map((measure) => (
                  <th key={measure} scope="col" className="right">
                    {MEASURE_WORDS[measure]}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {figures.sets.map(({ name, cells }) => (
                <tr key={name}>
                  <th scope="row">{name}</th>
                  {MEASURES.map((measure) => (
                    <td key={measure} className="right">
                      {cells[measure]}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {model.card !== "" && (
        <details className="card">
          <summary>Its card: what it was trained on, what it cannot do, samples</summary>
          <Markdown blocks={blocksOf(model.card)} below={3} />
        </details>
      )}
    </section>
  );
}

function Fact({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}
