// Reads English with Harper, offline. On stdin: {"dictionary": [words], "texts": [{"name", "text"}]}, each text in Markdown. On
// stdout: [{"name", "rule", "found", "message"}]. The test in prose.rs says what is read, and has the project's own words.

import { webcrypto } from 'node:crypto';
import { readFileSync } from 'node:fs';

// Node.js 18 has it, but not where Harper looks.
globalThis.crypto ??= webcrypto;

const modules = new URL('../../target/node/node_modules/harper.js/dist/', import.meta.url);
const harper = await import(new URL('index.js', modules));
const { slimBinaryInlined: binary } = await import(new URL('slimBinaryInlined.js', modules));

// The few of Harper's 900 rules that find mistakes in technical prose, and no matters of taste.
const RULES = [
    'SpellCheck', 'AnA', 'RepeatedWords', 'LongSentences', 'ThenThan', 'ItsPossessive', 'PronounVerbAgreement',
    'TheirToThere', 'TheirToTheyre', 'ThereToTheir', 'AnAnother', 'TheAnother', 'ToTo', 'InThe', 'TheMy', 'WillNonLemma', 'Misspell',
    'LetsConfusion', 'PossessiveYour', 'LessWorse', 'DoubleModal', 'NotBeAfterNot', 'WithoutOut', 'AllowTo', 'DespiteOf', 'HaveNegNoAny',
    'SimplePastToPastParticiple',  'ThesesThese', 'ModalOf', 'OneOfTheSingular', 'WrongApostrophe', 'NeedToNoun',
];

const { dictionary, texts } = JSON.parse(readFileSync(0, 'utf8'));
const linter = new harper.LocalLinter({ binary, dialect: harper.Dialect.British });
await linter.setup();
const known = await linter.getLintConfig();
for (const rule of RULES) {
    if (!(rule in known)) throw new Error(`Harper has no rule ${rule}`);
}
await linter.setLintConfig(Object.fromEntries(Object.keys(known).map((rule) => [rule, RULES.includes(rule)])));
await linter.importWords(dictionary);

const findings = [];
for (const { name, text } of texts) {
    const lints = await linter.organizedLints(text, { language: 'markdown' });
    for (const [rule, found] of Object.entries(lints)) {
        for (const lint of found) {
            const { start, end } = lint.span();
            // Spans count characters, not UTF-16 units.
            const part = [...text].slice(start, end).join('').replace(/\s+/g, ' ');
            findings.push({ name, rule, found: part, message: lint.message() });
        }
    }
}
process.stdout.write(JSON.stringify(findings), () => process.exit(0));
