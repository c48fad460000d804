"""The template of the report: its style and its text, with placeholders for the results of a run.

It is a Python module rather than a data file, so that a change of a word changes the report's cache key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from markupsafe import Markup, escape

# A placeholder in the page. A run that publishes the page replaces it by its links. They differ from run to
# run, so they must not be in the stage's output.
RUN_LINKS = "<!-- links to the run -->"

STYLE = """
:root { color-scheme: light dark;
  --ink: #23272e; --lede: #3b414b; --soft: #626a76; --rule: #e3e0d8; --paper: #fdfcf9; --card: #fff;
  --base: #8a9099; --few: #b9a25c; --sft: #2a6fb0; --aligned: #c5531a; --held: #1c8a6a; --bad: #b3261e;
  --grid: #ebe8e1; --grid-strong: #cfcbc1; --axis: #b9b5ab; --quiet-line: #d9d4c9; --quiet-dot: #a9a498;
  --head-rule: #c9c5bb; --cell-rule: #eeeae2; --piece-odd: #e9f0f7; --piece-even: #f6ebdc;
  --age0: #e5b48f; --age1: #e9a67b; --age2: #dc804a; --age3: #c5531a; --age4: #8f3a10; }
@media (prefers-color-scheme: dark) { :root {
  --ink: #e4e2dc; --lede: #c9c7c0; --soft: #a2a6ad; --rule: #3a3d43; --paper: #17191d; --card: #202329;
  --base: #9aa1ab; --few: #cdb76d; --sft: #6aa9e6; --aligned: #f0894f; --held: #4fc29d; --bad: #f08178;
  --grid: #2c2f35; --grid-strong: #464a52; --axis: #6a6e76; --quiet-line: #4b4f57; --quiet-dot: #80858e;
  --head-rule: #4a4e56; --cell-rule: #2c2f35; --piece-odd: #22344a; --piece-even: #40311f;
  --age0: #8a4f2e; --age1: #a55a30; --age2: #bd622e; --age3: #e07d40; --age4: #ffb27f; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 17px/1.6 Charter, "Bitstream Charter", "Sitka Text", Cambria, Georgia, "DejaVu Serif", serif; }
main, header, footer { max-width: 46rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 4rem; }
h1 { font-size: 2.3rem; line-height: 1.15; margin: 0 0 .8rem; letter-spacing: -.01em; }
h2 { font-size: 1.5rem; line-height: 1.25; margin: 4.2rem 0 .6rem; }
h2 .step { display: block; font: 600 .72rem/1 system-ui, sans-serif; letter-spacing: .09em; color: var(--soft);
  text-transform: uppercase; margin-bottom: .55rem; }
h3 { font: 600 .95rem/1.4 system-ui, sans-serif; margin: 2.2rem 0 .3rem; }
p { margin: .7rem 0; }
.lede { font-size: 1.15rem; color: var(--lede); }
.note, figcaption, .small { font: .83rem/1.5 system-ui, sans-serif; color: var(--soft); }
figure { margin: 1.4rem 0 1.8rem; }
figcaption { margin-top: .35rem; }
.wide { width: min(72rem, 100vw - 2.5rem); position: relative; left: 50%; transform: translateX(-50%); }
.pair { display: flex; flex-wrap: wrap; gap: 1.2rem; }
.pair figure { flex: 1 1 19rem; margin: 1rem 0; }
figure h3 { margin-top: 0; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { font: 11.5px system-ui, sans-serif; fill: var(--soft); }
svg .name { font-size: 12.5px; fill: var(--ink); }
.grid { stroke: var(--grid); stroke-width: 1; } .grid.strong { stroke: var(--grid-strong); stroke-width: 2; }
.axis { stroke: var(--axis); stroke-width: 1; fill: none; }
.reference { stroke: var(--ink); stroke-width: 1; stroke-dasharray: 3 3; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; } .line.faint { stroke-width: 1; opacity: .25; }
.line.dashed { stroke-dasharray: 7 7; }
.line.train { stroke: var(--sft); } .line.held { stroke: var(--held); } .line.aligned { stroke: var(--aligned); }
.line.quiet { stroke: var(--quiet-line); } .band.aligned { stroke: var(--aligned); stroke-width: 5; opacity: .35; }
.dot.train { fill: var(--sft); } .dot.held { fill: var(--held); } .dot.aligned { fill: var(--aligned); }
.dot.quiet { fill: var(--quiet-dot); }
.age0 { fill: var(--age0); } .age1 { fill: var(--age1); } .age2 { fill: var(--age2); } .age3 { fill: var(--age3); }
.age4 { fill: var(--age4); }
.cell { fill: var(--sft); fill-opacity: var(--w); stroke: var(--cell-rule); stroke-width: 1; }
table { border-collapse: collapse; width: 100%; font: .86rem/1.45 system-ui, sans-serif;
  font-variant-numeric: tabular-nums; margin: 1.1rem 0; }
th { text-align: start; font-weight: 600; color: var(--soft); border-bottom: 1px solid var(--head-rule);
  padding: .35rem .7rem .35rem 0; padding-inline: 0 .7rem; vertical-align: bottom; }
td { border-bottom: 1px solid var(--rule); padding: .42rem .7rem .42rem 0; vertical-align: top; }
.n { text-align: end; } td.n { white-space: nowrap; } td.words { line-height: 1.6; }
.scroll { overflow-x: auto; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem; margin: 2rem 0; }
.tile { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: .8rem .9rem;
  font: .8rem/1.4 system-ui, sans-serif; color: var(--soft); }
.tile b { display: block; font-size: 1.55rem; line-height: 1.2; color: var(--ink); font-weight: 600;
  font-variant-numeric: tabular-nums; }
.verdict { border-left: 4px solid var(--held); background: var(--card); padding: .7rem 1rem; margin: 1.4rem 0; }
.verdict.no { border-color: var(--bad); }
.answers { display: grid; gap: 1.1rem; margin: 1.4rem 0; }
.asked { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 1rem 1.2rem; }
.asked > p { margin: 0 0 .7rem; font-weight: 600; }
.asked > .before { margin-bottom: .3rem; font-weight: 400; }
.said { display: grid; grid-template-columns: repeat(auto-fit, minmax(14rem, 1fr)); gap: 1.2rem; }
.said div { border-top: 3px solid var(--base); padding-top: .45rem; overflow-wrap: anywhere; }
.said .few_shot { border-color: var(--few); } .said .sft { border-color: var(--sft); }
.said .aligned { border-color: var(--aligned); }
.said h4 { font: 600 .74rem/1.3 system-ui, sans-serif; color: var(--soft); margin: 0 0 .25rem; }
.said p { margin: 0; font-size: .96rem; line-height: 1.5; }
.asked .wrote { font: .83rem/1.5 system-ui, sans-serif; color: var(--soft); margin: .9rem 0 0; }
.nothing { color: var(--soft); font-style: italic; }
.piece { background: var(--piece-odd); border-radius: 3px; padding: .12rem .02rem; margin-right: 2px; white-space: pre-wrap; }
.piece:nth-child(even) { background: var(--piece-even); }
.sample { border-left: 3px solid var(--rule); padding-left: 1rem; margin: .9rem 0; overflow-wrap: anywhere; }
.sample b { font-weight: 600; }
.rows { display: grid; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr)); gap: 1rem 1.6rem; margin: 1rem 0; }
.rows section { border-top: 2px solid var(--rule); padding-top: .5rem; overflow-wrap: anywhere; }
.rows h4 { font: 600 .83rem/1.4 system-ui, sans-serif; margin: 0; }
.rows p { margin: .25rem 0; font-size: .92rem; line-height: 1.5; }
dt { font-weight: 600; margin-top: .8rem; } dd { margin: 0; }
footer { padding: 3rem 1.25rem 4rem; }
a { color: var(--sft); }
.links { display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; margin: 1.2rem 0 0; font: .83rem/1.5 system-ui, sans-serif; }
/* A phone has no room for columns: each row becomes a card, each cell a line with its column's name. */
@media (max-width: 40rem) {
  header { padding-top: 2rem; } h1 { font-size: 1.8rem; } .wide { width: auto; left: 0; transform: none; }
  .answers { gap: .8rem; } .asked { padding: .8rem .9rem; }
  table, tbody, tr, td { display: block; } th { display: none; }
  tr { border-top: 2px solid var(--rule); padding: .3rem 0; }
  td, td.n { display: flex; justify-content: space-between; gap: 1rem; text-align: end; white-space: normal;
    padding: .25rem 0; border: 0; overflow-wrap: anywhere; }
  td:first-child { font-weight: 600; } td[data-name]::before { content: attr(data-name); color: var(--soft);
    font-weight: 400; text-align: start; flex: none; max-width: 60%; }
  td:empty, tr:not(:has(td)) { display: none; }
  svg.large text, svg.large .name { font-size: 21px; } svg.medium text, svg.medium .name { font-size: 18px; }
}
@media print { h2 { break-after: avoid; } figure, .asked, table { break-inside: avoid; } }
"""  # noqa: E501

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>{{ style }}</style>
</head>
<body>
<header>
<h1>{{ title }}</h1>
<p class="lede">A language model is made in steps. First it reads and learns to guess the next word
(<em>pretraining</em>). Then it practises on examples of good answers (<em>supervised fine-tuning</em>, SFT).
A second model learns from people’s judgements what they prefer (the <em>reward model</em>). Last, {% if rlhf and rlhf.dpo %}the
assistant itself learns from the judgements (<em>direct preference optimization</em>, DPO, a form of RLHF).
{% else %}the
assistant practises against that second model (<em>reinforcement learning from human feedback</em>, RLHF).
{% endif %}
This page shows what happened in each of them.</p>
{{ run_links }}
{% if tiles %}<div class="tiles">
{% for tile in tiles %}<div class="tile"><b>{{ tile.figure }}</b>{{ tile.words }}</div>
{% endfor %}</div>{% endif %}
{% if verdict %}<p class="verdict{{ '' if verdict.passed else ' no' }}"><b>{{ verdict.title }}</b> {{ verdict.reason }}{% if rlhf and rlhf.unchanged %}{{ '' if verdict.reason.endswith('.') else '.' }} RLHF achieved nothing: {{ rlhf.unchanged }}{% endif %}</p>{% endif %}
</header>
<main>

{% if answers %}
<h2><span class="step">The result</span>The same prompts, asked of each model</h2>
<p>No model saw these prompts in training.{% if base_answers %} The <b>base model</b> is an open model, asked in its own
chat format, and once more with a few worked examples before the prompt (<b>few-shot</b>).{% else %} The <b>base
model</b> has only read: it goes on with the text rather than answer it. With a few worked examples before the prompt
(<b>few-shot</b>) it can be made to answer, as far as it has learned enough.{% endif %}{% if without_examples %} No
worked example fitted into this model's context, so <b>few-shot</b> is the base model asked a second time.{% endif %} The <b>assistant</b> was shown how to answer; the <b>aligned assistant</b> was also {% if rlhf and rlhf.dpo %}moved towards
the answers that people preferred.{% else %}told, by the reward model,
which answers people like.{% endif %}{% if rlhf and rlhf.unchanged %} {{ rlhf.unchanged }}{% endif %}</p>
<div class="answers wide">
{% for asked in answers %}<section class="asked">{% for name, words in asked.before %}<p class="before" dir="auto" lang=""><span class="small" lang="en" dir="ltr">{{ name }}</span> {{ words }}</p>
{% endfor %}<p dir="auto" lang="">{{ asked.prompt }}</p><div class="said">
{% for kind, name in speakers %}{% if kind in asked %}<div class="{{ kind }}"><h4>{{ name }}</h4>
{% if asked[kind].strip() %}<p dir="auto" lang="">{{ asked[kind] }}</p>{% else %}<p class="nothing">(empty answer)</p>{% endif %}</div>{% endif %}
{% endfor %}</div>{% if asked.reference %}<p class="wrote">In the data: <bdi lang="">{{ asked.reference }}</bdi></p>{% endif %}</section>
{% endfor %}</div>
<p class="note">Answers are drawn at random from what each model finds likely, with the same seed; questions
are answered with the likeliest words. They are the first of the test prompts: nobody picked them.</p>
{% endif %}

{% if sources %}
<h2><span class="step">Data</span>What it learned from</h2>
<p>Every row comes from one of these sources: <em>text</em> to read, <em>pairs</em> of a prompt and an answer, and
two kinds of human judgement, <em>comparisons</em> of two answers and <em>ratings</em> of one. Rows are set apart by
what they are about, not by chance: a passage, question or review that is held out stands in no training row.</p>
<div class="scroll"><table>
<tr><th>source{% for kind in kinds %}<th class="n">{{ kind }}{% endfor %}</tr>
{% for row in sources %}<tr><td><bdi lang="">{{ row.source }}</bdi>{% for learned, held_out in row.counts %}<td class="n" data-name="{{ kinds[loop.index0] }}">{% if learned or held_out %}<span>{{ learned or 0 }}{% if held_out %} <span class="small">+ {{ held_out }}</span>{% endif %}</span>{% endif %}{% endfor %}</tr>
{% endfor %}</table></div>
<p class="note">Rows to learn from, + rows held out: one part for the decisions of training, the other, the test,
for the figures on this page.</p>
{% if examples %}<h3>One row of each kind</h3>
<div class="rows">{% for row in examples %}<section><h4>{{ row.kind }} <span class="small">from <bdi lang="">{{ row.source }}</bdi></span></h4>
{% for name, words in row.parts %}<p dir="auto" lang="">{% if name %}<span class="small" lang="en" dir="ltr">{{ name }}</span> {% endif %}{{ words }}</p>
{% endfor %}</section>
{% endfor %}</div>{% endif %}
{% if quarantine %}<p>Before that, {{ quarantine.total }} row{{ '' if quarantine.total == '1' else 's' }} that broke a
rule {{ 'was' if quarantine.total == '1' else 'were' }} put aside: {{ quarantine.reasons }}.</p>{% endif %}
{% endif %}

{% if drift %}
<h3>How it differs from what the champion learned from</h3>
<p>The champion, the best model so far that learned from other data, is version {{ drift.version }}. {{ drift.new }} are
new to it. {{ drift.says }}. Each line below is a distance between the two versions of the data, as a multiple of its threshold.</p>
<figure>{{ drift.picture }}</figure>
<div class="scroll wide"><table>
<tr><th>measure<th>of<th class="n">champion’s<th class="n">this<th class="n">distance<th class="n">threshold<th>past it</tr>
{% for row in drift.rows %}<tr><td>{{ row.name }}<td data-name="of">{{ row.of }}<td class="n" data-name="champion’s">{{ row.before }}<td class="n" data-name="this">{{ row.now }}<td class="n" data-name="distance">{{ row.distance }}<td class="n" data-name="threshold">{{ row.bar }}<td data-name="past it">{{ 'yes' if row.past else 'no' }}</tr>
{% endfor %}</table></div>
{% endif %}

{% if tokens %}
<h3>Words to numbers</h3>
<p>A model reads pieces of words, called tokens, each a number. This model knows {{ tokens.vocabulary }} of
them, found by joining the pairs of characters that stand together most often in the training text, which
is {{ tokens.train }} tokens long{% if tokens.per %}, {{ tokens.per }} bytes each on average{% endif %}.</p>
{% if pieces %}<p dir="auto" lang="">{% for piece in pieces %}<span class="piece">{{ piece }}</span>{% endfor %}</p>{% endif %}
{% endif %}

{% if pretrain %}
<h2><span class="step">Step 1 · pretraining</span>Learning to guess the next word</h2>
{% if pretrain.charts %}<p>{% if pretrain.continued %}The model starts as an open model, which was not trained here.
{% else %}The model starts as random numbers. {% endif %}At each step it reads a batch of text, guesses every next token from
those before it, and is corrected a little towards what stood there. The <em>loss</em> says how surprised
it was: lower is better. <em>Bits per byte</em> is the same on text it never trained on: how many bits it
would need, on average, to store one byte. Plain storage takes 8.</p>
<div class="pair">
{% for chart in pretrain.charts %}<figure><h3>{{ chart.title }}</h3>{{ chart.svg }}<figcaption>{{ chart.caption }}</figcaption></figure>
{% endfor %}</div>{% else %}<p>The base model was not trained here but brought along.</p>{% endif %}
{% if pretrain.samples %}<h3>What it writes, from the first step to the last</h3>
<p>The same beginnings (in bold), continued by the model as it was at each of these moments.</p>
{% for moment in pretrain.samples %}<h3>{{ moment.title }}</h3>
{% for sample in moment.samples %}<p class="sample" dir="auto" lang=""><b>{{ sample.prompt }}</b>{% if sample.text.strip() %}{{ sample.text }}{% else %} <span class="nothing" lang="en" dir="ltr">(nothing)</span>{% endif %}</p>
{% endfor %}{% endfor %}{% endif %}
{% if pretrain.neighbours %}<h3>Which words stand near each other</h3>
<p>Inside the model each word is a point in space. At the start the points lie at random. Nobody tells the
model what words mean: it moves words together when they serve alike in text. These are the nearest
neighbours of some words, with their closeness (1 is the same direction, 0 unrelated).</p>
<div class="scroll"><table><tr><th>word<th>neighbours at the first step<th>neighbours at the last step</tr>
{% for row in pretrain.neighbours %}<tr><td><bdi lang="">{{ row.word }}</bdi>
{% for near in (row.first, row.last) %}<td class="words" data-name="{{ 'first step' if loop.first else 'last step' }}"><span>{% for word, closeness in near %}<bdi lang="">{{ word }}</bdi>&nbsp;<span class="small">{{ closeness }}</span>{{ ', ' if not loop.last }}{% endfor %}</span>
{% endfor %}</tr>
{% endfor %}</table></div>{% endif %}
{% if pretrain.attention %}<h3>Where it looks</h3>
<p>To guess what follows a token the model looks back at earlier ones. Each row is a token of the sentence; the
stronger the colour of a square, the more one part of the model (layer {{ pretrain.layer }}, head {{ pretrain.head }})
looks from that row’s token at the token above. Nothing right of the diagonal: it cannot look ahead.</p>
<figure style="max-width: {{ pretrain.attention_width }}px">{{ pretrain.attention }}</figure>{% endif %}
{% endif %}

{% if sft %}
<h2><span class="step">Step 2 · supervised fine-tuning</span>Learning to answer</h2>
<p>The same model goes on learning, from pairs of a prompt and a good answer. Only the answer’s tokens
count, and the last of them says “I am done”.{% if sft.ends %} After this step {{ sft.ends }} of its answers end
by themselves{% if sft.base_ends %}; of the base model’s, {{ sft.base_ends }}{% endif %}.{% endif %}</p>
<div class="pair">{% for chart in sft.charts %}<figure><h3>{{ chart.title }}</h3>{{ chart.svg }}<figcaption>{{ chart.caption }}</figcaption></figure>
{% endfor %}</div>
{% endif %}

{% if agreement or people %}
<h2><span class="step">Step 3 · the labels</span>The people behind the labels</h2>
{% endif %}
{% if people %}
{% if people.lead %}<p>{{ people.lead }} A label is a choice between two answers or a score of one, on one
aspect. The model learns these people’s taste, so it matters who they are and how they judge.</p>{% endif %}
{% if people.chart %}<figure>{{ people.chart }}<figcaption>{{ people.caption }}</figcaption></figure>{% endif %}
{% if people.rows %}<h3>Who labelled, and when</h3>
<div class="scroll"><table><tr><th>person<th class="n">labels<th class="n">of all<th class="n">days<th>between<th>most on a day</tr>
{% for row in people.rows %}<tr><td><bdi lang="">{{ row.person }}</bdi><td class="n" data-name="labels">{{ row.labels }}<td class="n" data-name="of all">{{ row.share }}<td class="n" data-name="days">{{ row.days }}<td data-name="between">{{ row.between }}<td data-name="most on a day">{{ row.most }}</tr>
{% endfor %}</table></div>
{% if people.note %}<p class="note">{{ people.note }}</p>{% endif %}{% endif %}
{% if people.page %}<h3>On the label page: time and care</h3>
<p>Seconds are those in which the page was visible and in use, the median over a person’s judgements. A known
item has one right answer and is hidden among the others; n is how many of them the person judged.</p>
<div class="scroll"><table><tr><th>person<th class="n">judgements<th class="n">seconds an item<th class="n">known items right</tr>
{% for row in people.page %}<tr><td><bdi lang="">{{ row.person }}</bdi><td class="n" data-name="judgements">{{ row.judgements }}<td class="n" data-name="seconds an item">{{ row.seconds }}<td class="n" data-name="known items right">{% if row.right %}<span>{{ row.right }} <span class="small">{{ row.interval }}</span></span>{% endif %}</tr>
{% endfor %}</table></div>
{% if people.page_note %}<p class="note">{{ people.page_note }}</p>{% endif %}{% endif %}
{% for sentence in people.advice %}<p>{{ sentence }}</p>
{% endfor %}
{% endif %}
{% if agreement %}
{% if people %}<h3>How far they agree</h3>{% endif %}
<p>People rated texts, or chose between two answers. They do not always agree, and no model can agree with all of them.
<em>Alpha</em> (Krippendorff) is 1 where they always do and 0 where they answer as if by chance; <em>same side</em>
is how often two people put a text on the same side (above, below or at the middle of the scale), or chose the
same answer of a pair.</p>
<div class="scroll"><table><tr><th>aspect<th>source<th class="n">judged<th class="n">people<th class="n">judgements<th class="n">alpha<th class="n">same side</tr>
{% for row in agreement.rows %}<tr><td>{{ row.aspect }}<td data-name="source"><bdi lang="">{{ row.source }}</bdi><td class="n" data-name="judged">{{ row['items'] }} {{ row.judged }}<td class="n" data-name="people">{{ row.annotators }}{% if row.some_unnamed %} and some without a name{% endif %}<td class="n" data-name="judgements">{{ row.judgements }}<td class="n" data-name="alpha"><span>{{ row.alpha }}{% if row.interval %} <span class="small">95%: {{ row.interval }}</span>{% endif %}</span><td class="n" data-name="same side">{{ row.pair_agreement }}</tr>
{% endfor %}</table></div>
{% if agreement.aspects_note %}<p class="note">{{ agreement.aspects_note }}</p>{% endif %}
{% if agreement.review_note %}<p class="note">{{ agreement.review_note }}</p>{% endif %}
<p>{{ agreement.advice }}</p>
{% if agreement.pairs %}<h3>Two people at a time</h3>
<div class="scroll"><table><tr><th>aspect<th>source<th>people<th class="n">judged by both<th class="n">equal<th class="n">alpha</tr>
{% for row in agreement.pairs %}<tr><td>{{ row.aspect }}<td data-name="source"><bdi lang="">{{ row.source }}</bdi><td data-name="people"><span><bdi lang="">{{ row.people[0] }}</bdi>, <bdi lang="">{{ row.people[1] }}</bdi></span><td class="n" data-name="judged by both">{{ row['items'] }}<td class="n" data-name="equal"><span>{{ row.same }} <span class="small">95%: {{ row.interval }}</span></span><td class="n" data-name="alpha">{{ row.alpha }}</tr>
{% endfor %}</table></div>
<p class="note">{{ agreement.pairs_note }}</p>{% endif %}
{% if agreement.people %}<h3>How often each person was right</h3>
<p>The judgements of several people were joined by each person’s estimated error rates (Dawid and Skene), so that
somebody who often contradicts the others counts less. Nobody knows the truth: <em>right</em> is measured against
what all of them together make probable.</p>
<div class="scroll"><table><tr><th>aspect<th>source<th>person<th class="n">judgements<th class="n">right<th>otherwise</tr>
{% for row in agreement.people %}<tr><td>{{ row.aspect }}<td data-name="source"><bdi lang="">{{ row.source }}</bdi><td data-name="person">{% if row.annotator %}<bdi lang="">{{ row.annotator }}</bdi>{% else %}all without a name{% endif %}<td class="n" data-name="judgements">{{ row.judgements }}<td class="n" data-name="right">{{ row.right }}<td data-name="otherwise">{{ row.otherwise }}</tr>
{% endfor %}</table></div>
<p class="note">{{ agreement.people_note }}</p>{% endif %}
{% endif %}
{% if reward %}
<h2><span class="step">Step 3 · the reward model</span>Learning what people prefer</h2>
<p>The reward model is the assistant with a new last layer that gives a text one number. It is shown two texts
and moved to give the higher number to the one that people preferred.</p>
<div class="pair">{% for chart in reward.charts %}<figure><h3>{{ chart.title }}</h3>{{ chart.svg }}<figcaption>{{ chart.caption }}</figcaption></figure>
{% endfor %}</div>
{% if reward.accuracy %}<h3>How often it agrees with people on texts it has not seen</h3>
<figure>{{ reward.accuracy }}<figcaption>Pairs of validation texts that people clearly told apart (n = {{ reward.pairs }}): how often the
reward model puts them in the same order. The share at the top of this page is of test pairs instead.{% if reward.yardstick %} Beside it is a linear model on words
and word pairs, trained on the same labels. It shows how much of the labels single words explain: where its dot is the higher one,
the reward model has not learned as much from these labels as counting words does.{% endif %} Half is what guessing gives.{% if reward.ties %} Left out: {{ reward.ties }}, as
neither text is better.{% endif %}</figcaption></figure>{% endif %}
{% endif %}

{% if rlhf and rlhf.dpo %}
<h2><span class="step">Step 4 · RLHF</span>Learning from two answers at once</h2>
<p>Now the assistant sees two answers to one prompt, of which people preferred one. It is moved to make that
answer more likely and the other one less (by an algorithm called DPO). It writes no answers of its own while
it learns, and the reward model has no part in it. Its likelihoods are compared with those of the assistant
it was: the <em>margin</em>, in nats, says how much more it gained on the preferred answer than on the other.</p>
{% elif rlhf %}
<h2><span class="step">Step 4 · RLHF</span>Practising against the reward model</h2>
<p>Now the assistant answers prompts, the reward model scores the answers, and the assistant is moved towards
what scored above expectation (by an algorithm called PPO). Left alone it would soon find odd texts that the
reward model likes and nobody else does. So it pays for every step away from the assistant it was: the
<em>KL divergence</em>, in nats, says how differently it now speaks, for a whole answer.</p>
{% endif %}
{% if rlhf %}
{% if rlhf.choice %}<p>{{ rlhf.choice }}</p>{% endif %}
<div class="pair">{% for chart in rlhf.charts %}<figure><h3>{{ chart.title }}</h3>{{ chart.svg }}<figcaption>{{ chart.caption }}</figcaption></figure>
{% endfor %}</div>
{% if rlhf.trail %}<h3>What the reward costs</h3>
<figure>{{ rlhf.trail }}<figcaption>Each dot is a step, averaged with its neighbours, from faint (first) to strong (last). A healthy
training climbs: more reward for little divergence. Where the path runs to the right without climbing, divergence
is spent for nothing.</figcaption></figure>{% endif %}
{% endif %}

{% if examination %}
<h2><span class="step">Examination</span>All models, the same test</h2>
<div class="scroll"><table><tr><th>measure{% for _, name in speakers %}<th class="n">{{ name }}{% endfor %}</tr>
{% for row in examination %}<tr><td>{{ row.measure }}{% for value in row.shown %}<td class="n" data-name="{{ speakers[loop.index0][1] }}">{{ value }}{% endfor %}</tr>
{% endfor %}</table></div>
<p class="note">{{ examination_note }}</p>
{% endif %}
{% if judged %}
<h3>Did it work? The judge’s word</h3>
<p>{% if rlhf and rlhf.dpo %}The reward model learned from the same judgements as the aligned assistant, so it
cannot judge it. {% else %}The reward model cannot judge its own pupil. {% endif %}{% if judged.kind == "lexicon" %}The judge is a fixed list of words with
their tone (VADER), which no model here has seen. It scores a text from −1 (negative) to 1 (positive).
{% else %}{% if judged.kind == "function" %}The judge is a function of your own.{% elif judged.kind == "endpoint" %}The judge is another
model. It compared each answer with the assistant’s in both orders: 1 is a win, 0.5 a tie, 0 a loss.{% else %}The judge is a second
reward model. It learned from judgements that the first one never saw.{% endif %}{% if judged.accuracy %} It orders
{{ judged.accuracy }} of the held-out pairs as people did.{% endif %}{% if not judged.reliable %} That may be guessing, so
its word does not count here.{% endif %}{% endif %} The
assistant’s answers score {{ judged.before }} on average, the aligned assistant’s {{ judged.after }}. On the
same prompt the aligned answer scores higher in {{ judged.rate }} of the cases (ties count half).</p>
<figure>{{ judged.interval }}<figcaption>Share of prompts that the aligned assistant wins, with the 95% interval
({{ judged.range }}). At the dashed line the two would be equal.</figcaption></figure>
{% endif %}

{% if verdict and verdict.checks %}
<h2><span class="step">Gate</span>Is it let through?</h2>
<p>The thresholds were set before the training.</p>
<div class="scroll"><table><tr><th>figure<th class="n">measured<th class="n">threshold<th class="n">passed</tr>
{% for check in verdict.checks %}<tr><td>{{ check.name }}<td class="n" data-name="measured">{{ check.value }}<td class="n" data-name="threshold">{{ check.bar }}<td class="n" data-name="passed">{{ 'yes' if check.passed else 'no' }}</tr>
{% endfor %}</table></div>
{% endif %}

<h2><span class="step">Words</span>Small glossary</h2>
<dl>
<dt>Token</dt><dd>A piece of text, often a word, that the model reads and writes as one number.</dd>
<dt>Step</dt><dd>One correction of the model’s weights, from one batch of text.</dd>
<dt>Loss, in nats a token</dt><dd>How surprised the model is by a token that stood there; 0 is not at all. A nat is
1.44 bits.</dd>
<dt>Held-out</dt><dd>Kept away from training, to measure with.</dd>
<dt>Reward</dt><dd>The reward model’s score of an answer. 0 is an average answer of the assistant before RLHF, 1 is one
standard deviation better.</dd>
<dt>KL divergence</dt><dd>How differently two models speak: the mean of the logarithm of how much likelier an answer
is to the one than to the other. 0 is the same model.</dd>
</dl>
</main>
<footer class="note">{{ footer }}</footer>
</body>
</html>
"""  # noqa: E501


def add_run_links(page: str, links: Mapping[str, str], note: str) -> str:
    """Return the report's page with links to the run that published it.

    Args:
        page: The page as the report stage wrote it.
        links: URLs by their link text, in order.
        note: A sentence after the links; words between backticks are shown as code.
    """
    anchors = Markup("\n").join(
        Markup('<a href="{}">{}</a>').format(address, words) for words, address in links.items()
    )
    # Markup.format escapes its arguments: URLs and words may come from a person's settings.
    shown = Markup('<nav class="links">{}<span class="small">{}</span></nav>').format(
        anchors, Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(note))))
    )
    return page.replace(RUN_LINKS, shown if links else "", 1)
