// The vectors beside this file, verified by another implementation than the one that made them:
// written from docs/wire.md alone, with nothing but Node's own modules.
//
//     node verify.mjs [FOLDER]        prints one JSON object; exits 1 on the first thing that is wrong

import { createHash, createPublicKey, verify as verifySignature } from 'node:crypto'
import { readFileSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const ALPHABET = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'
const DAY = 86_400
const PROOF_MEMBERS =
  '@context,created,cryptosuite,proofPurpose,proofValue,type,verificationMethod'
const ROW = {
  op: (v) => v === 0 || v === 1,
  sha256: isHash,
  content: isHash,
  pipeline: isWhole,
  basis: (v) => v === 'model' || v === 'human',
  finding: (v) => Array.isArray(v) && v.length === 2 && v[1] === 'upheld',
  scores: (v) => Array.isArray(v) && v.every((s) => s === null || (isWhole(s) && s <= 10_000)),
  issued: isWhole,
  expires: isWhole,
  target: isPlace,
}
const FLAGGED = { pdq: isHash, quality: (v) => isWhole(v) && v <= 100 }

export function check(holds, what) {
  if (!holds) throw new Error(what)
}

// RFC 8785: only integers are written here, and the order of keys is that of UTF-16 units.
export function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (value === null || typeof value !== 'object') {
    check(typeof value !== 'number' || Number.isSafeInteger(value), 'a number that is no integer')
    return JSON.stringify(value)
  }
  const member = (key) => `${JSON.stringify(key)}:${canonical(value[key])}`
  return `{${Object.keys(value).sort().map(member).join(',')}}`
}

export const sha256 = (data) => createHash('sha256').update(data).digest()

export function encodeBase58(bytes) {
  let number = BigInt(`0x${bytes.toString('hex')}`)
  let text = ''
  for (; number > 0n; number /= 58n) text = ALPHABET[Number(number % 58n)] + text
  return `z${'1'.repeat(bytes.findIndex((byte) => byte !== 0))}${text}`
}

export function decodeBase58(text) {
  check(text[0] === 'z', 'no base58btc')
  const zeros = text.slice(1).match(/^1*/)[0].length
  let number = 0n
  for (const character of text.slice(1)) {
    const digit = ALPHABET.indexOf(character)
    check(digit >= 0, 'no base58btc')
    number = number * 58n + BigInt(digit)
  }
  let hex = number.toString(16)
  if (hex.length % 2) hex = `0${hex}`
  return Buffer.concat([Buffer.alloc(zeros), Buffer.from(number ? hex : '', 'hex')])
}

export function digest(document) {
  const { proof: _, ...rest } = document
  return encodeBase58(Buffer.concat([Buffer.from([0x12, 0x20]), sha256(canonical(rest))]))
}

function ed25519(multikey) {
  const bytes = decodeBase58(multikey)
  check(bytes.length === 34 && bytes[0] === 0xed && bytes[1] === 0x01, 'no Ed25519 Multikey')
  const x = bytes.subarray(2).toString('base64url')
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
}

export function verifyProof(document, publicKeyMultibase) {
  const { proof, ...body } = document
  const { proofValue, ...options } = proof
  const context = proof['@context']
  check(Object.keys(proof).sort().join() === PROOF_MEMBERS, 'members of the proof')
  check(
    proof.type === 'DataIntegrityProof' &&
      proof.cryptosuite === 'eddsa-jcs-2022' &&
      proof.proofPurpose === 'assertionMethod',
    'kind of the proof',
  )
  check(
    canonical(context) === canonical(body['@context'].slice(0, context.length)),
    'the context of the proof is no prefix of that of the document',
  )
  const secured = { ...body, '@context': context }
  const message = Buffer.concat([sha256(canonical(options)), sha256(canonical(secured))])
  const key = ed25519(publicKeyMultibase)
  check(verifySignature(null, message, key, decodeBase58(proofValue)), 'the signature')
}

function isWhole(value) {
  return Number.isSafeInteger(value) && value >= 0
}

function isHash(value) {
  if (typeof value !== 'string' || value.length !== 43) return false
  const bytes = Buffer.from(value, 'base64url')
  return bytes.length === 32 && bytes.toString('base64url') === value
}

function isPlace(value) {
  if (!Array.isArray(value)) return isWhole(value) && value > 0
  return value.length === 2 && /^[0-9a-f]{32}$/.test(value[0]) && isWhole(value[1]) && value[1] > 0
}

const seconds = (published) => {
  check(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(published), 'the form of published')
  return Date.parse(published) / 1000
}

// One row by the names of its columns, with scores by label and the pipeline by its id.
function readRow(document, cells, published, flagged) {
  check(cells.length === document.columns.length, 'length of a row')
  const row = Object.fromEntries(document.columns.map((name, i) => [name, cells[i]]))
  const rules = flagged ? { ...ROW, ...FLAGGED } : ROW
  for (const [name, fits] of Object.entries(rules)) {
    check(name in row, `no column ${name}`)
    check(row[name] === null || fits(row[name]), `${name}: ${JSON.stringify(row[name])}`)
  }
  const given = Object.keys(rules).filter((name) => row[name] !== null).sort().join()
  if (row.op === 1) {
    check(given === 'op,target', `a retraction with ${given}`)
    return { op: 1, target: row.target }
  }
  check(row.op === 0 && row.sha256 !== null && row.target === null, 'cells of an attestation')
  const judged = row.basis === 'model' ? [row.pipeline, row.scores] : [row.finding]
  check(row.basis !== null && judged.every((cell) => cell !== null), 'cells of a judgement')
  check((row.basis === 'model') === (row.finding === null), 'a finding of a model')
  check(row.basis === 'model' || (flagged && row.pipeline === null && row.scores === null), 'human')
  check(row.issued !== null && row.issued <= published + 300, 'issued too late')
  check(row.expires !== null && row.expires > row.issued, 'expires before it was issued')
  check(!flagged || (row.pdq === null) === (row.quality === null), 'pdq without its quality')
  const attested = { op: 0, sha256: row.sha256, content: row.content, basis: row.basis }
  attested.issued = row.issued
  attested.expires = Math.min(row.expires, row.issued + 366 * DAY)
  if (row.basis === 'human') {
    check(row.finding[0] in document.rules, 'a finding for a rule that is not given')
    return { ...attested, rule: row.finding[0] }
  }
  check(flagged || row.issued % DAY === 0, 'the clean feed tells the hour')
  check(row.pipeline < document.pipelines.length, 'a pipeline that is not given')
  check(row.scores.length === document.labels.length, 'scores that are not those of the labels')
  const scored = document.labels.map((label, i) => [label, row.scores[i]])
  return {
    ...attested,
    pipeline: sha256(canonical(document.pipelines[row.pipeline])).toString('hex'),
    scores: Object.fromEntries(scored.filter(([, score]) => score !== null)),
  }
}

const isFlagged = (document) => document.attributedTo.endsWith('/feeds/flagged')

function checkTable(document) {
  check(document.wire === 1 && document.type[0] === 'Document', 'another wire format')
  check(new Set(document.columns).size === document.columns.length, 'a doubled column')
  check(document.count === undefined || document.count === document.rows.length, 'count')
}

// A page as { page, digest, previousDigest, published, rows: [[seq, row]] }.
export function readPage(document) {
  checkTable(document)
  const { attributedTo, epoch, page, firstSeq, previousDigest, previousEpoch } = document
  check(document.id === `${attributedTo}/${epoch}/pages/${page}`, 'the id of the page')
  check(firstSeq >= page && (page > 1 || firstSeq === 1), 'firstSeq')
  check((previousDigest === undefined) === (page === 1), 'previousDigest')
  check(previousEpoch === undefined || page === 1, 'previousEpoch on a later page')
  const published = seconds(document.published)
  const read = (cells, i) => [firstSeq + i, readRow(document, cells, published, isFlagged(document))]
  const rows = document.rows.map(read)
  return { page, digest: digest(document), previousDigest, published, rows }
}

// Merged pages as the list of pages that they stand for.
export function readMerged(document) {
  checkTable(document)
  const { attributedTo, epoch, firstPage, lastPage, pages } = document
  check(document.id === `${attributedTo}/${epoch}/pages/${firstPage}-${lastPage}`, 'the id')
  check(pages.length === lastPage - firstPage + 1, 'how many pages there are')
  check(pages.at(-1)[1] === seconds(document.published), 'published is not that of the last page')
  check(document.proof.created === document.published, 'created is not published')
  let seq = document.firstSeq
  let previousDigest = document.previousDigest
  const apart = pages.map(([count, published, pageDigest], i) => {
    const start = seq - document.firstSeq
    const cells = document.rows.slice(start, start + count)
    const flagged = isFlagged(document)
    const rows = cells.map((row, j) => [seq + j, readRow(document, row, published, flagged)])
    const page = { page: firstPage + i, digest: pageDigest, previousDigest, published, rows }
    seq += count
    previousDigest = pageDigest
    return page
  })
  check(seq - document.firstSeq === document.count, 'rows of the pages')
  return apart
}

// A part of a snapshot as [[[epoch, seq], row]].
export function readPart(document, manifest, number) {
  checkTable(document)
  const place = `${manifest.epoch}-${manifest.throughPage}/${number}`
  const named = manifest.parts[number - 1]
  check(document.id === named.id && named.id === `${manifest.id}/${place}`, 'the id of the part')
  check(document.part === number && document.throughPage === manifest.throughPage, 'which part')
  check(named.count === document.count && named.digestMultibase === digest(document), 'named')
  const epochs = [...manifest.previousEpochs.map(([epoch]) => epoch), manifest.epoch]
  const at = document.columns.indexOf('seq')
  const published = seconds(manifest.published)
  let last = [-1, 0]
  return document.rows.map((cells) => {
    const where = isWhole(cells[at]) ? [manifest.epoch, cells[at]] : cells[at]
    const order = [epochs.indexOf(where[0]), where[1]]
    check(order[0] >= 0 && (order[0] - last[0] || order[1] - last[1]) > 0, 'order of the rows')
    check(where[0] !== manifest.epoch || where[1] < manifest.nextSeq, 'a row after the snapshot')
    last = order
    const row = readRow(document, cells, published, isFlagged(document))
    check(row.op === 0, 'a part retracts')
    return [where, row]
  })
}

// What stands of one feed at a time: Map from 'epoch/seq' to the row, the newest of each key alone.
export function standing(epoch, placed, now) {
  const rows = new Map()
  const gone = new Set()
  const text = (place) => (Array.isArray(place) ? place : [epoch, place]).join('/')
  for (const [place, row] of placed) {
    if (row.op === 1) gone.add(text(row.target))
    else rows.set(text(place), row)
  }
  const newest = new Map()
  for (const [place, row] of rows) {
    if (gone.has(place) || row.expires <= now) continue
    const key = [row.sha256, row.pipeline ?? '', row.basis, row.rule ?? ''].join(' ')
    const other = newest.get(key)
    if (other === undefined || row.issued >= rows.get(other).issued) newest.set(key, place)
  }
  return new Map([...newest.values()].map((place) => [place, rows.get(place)]))
}

export function main(folder) {
  const vectors = {}
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.json')).sort()) {
    const vector = JSON.parse(readFileSync(join(folder, file), 'utf8'))
    const { proof, ...rest } = vector.document
    check(canonical(rest) === vector.canonicalWithoutProof, `${file}: canonical form`)
    check(digest(vector.document) === vector.digestMultibase, `${file}: digest`)
    if (proof) verifyProof(vector.document, vector.publicKeyMultibase)
    vectors[file.slice(0, -5)] = vector
  }
  const at = (name) => vectors[name].document
  const key = vectors['clean-page'].publicKeyMultibase
  const clean = readPage(at('clean-page'))
  const flagged = readPage(at('flagged-page'))
  const merged = readMerged(at('merged-pages'))
  check(canonical(merged[0].rows) === canonical(clean.rows), 'rows of the page and of merged pages')
  check(merged[0].digest === clean.digest, 'digest of the page and of merged pages')
  const last = merged.at(-1)
  for (const named of [at('feed-head'), at('snapshot-manifest')]) {
    check(named.digestMultibase === last.digest, 'the digest of the last page')
    check((named.page ?? named.throughPage) === last.page, 'the number of the last page')
  }
  const manifest = at('snapshot-manifest')
  const part = readPart(at('snapshot-part'), manifest, 1)
  check(manifest.nextSeq === last.rows.at(-1)[0] + 1, 'nextSeq')
  const log = merged.flatMap((page) => page.rows)
  const stand = standing(manifest.epoch, log, seconds(manifest.published))
  const ours = part.filter(([where]) => where[0] === manifest.epoch)
  const snapshot = ours.map(([where, row]) => [where.join('/'), row])
  check(canonical(snapshot) === canonical([...stand]), 'the snapshot is not what stands')
  const single = at('attestation')
  checkTable(single)
  const row = readRow(single, single.rows[0], seconds(single.published), false)
  check(canonical(row) === canonical(stand.get(`${single.epoch}/${single.seq}`)), 'attestation')
  verifyProof(at('create').object, key)
  check(digest(at('create').object) === clean.digest, 'the page that is pushed')
  const stub = at('create-stub').object
  check(stub.digestMultibase === clean.digest && stub.url === at('clean-page').id, 'the stub')
  for (const head of [at('announce-heads').object].flat()) verifyProof(head, key)
  return { pages: [clean, flagged], merged, part, standing: [...stand.keys()] }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const folder = process.argv[2] ?? dirname(fileURLToPath(import.meta.url))
  try {
    console.log(JSON.stringify(main(folder)))
  } catch (error) {
    console.error(error.message)
    process.exit(1)
  }
}
