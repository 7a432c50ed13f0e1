import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Denied } from '../../../src/denied.ts'
import { parsePath } from '../../../src/gather/path.ts'

function refused(target: string): string {
  try {
    parsePath(target)
  } catch (error) {
    if (error instanceof Denied) return error.reason
  }
  return 'not refused'
}

describe('a path', () => {
  it.each([
    ['', [''], {}],
    ['/', [''], {}],
    ['//', [''], {}],
    ['/a', ['a'], {}],
    ['/a/', ['a', ''], {}],
    ['//a//b', ['a', '', 'b'], {}],
    ['//admin/x', ['admin', 'x'], {}],
    ['/a%2Fb', ['a', 'b'], {}],
    ['/a/../b', ['a', '..', 'b'], {}],
    ['/a;x=1/b', ['a;x=1', 'b'], {}],
    ['/a+b%20c?q=a+b%20c', ['a+b c'], { q: ['a b c'] }],
    ['/a?x=1#frag', ['a'], { x: ['1#frag'] }],
    ['/a#f?x=1', ['a#f'], { x: ['1'] }],
    ['http://h/p?q=1', ['http:', '', 'h', 'p'], { q: ['1'] }],
    ['*', ['*'], {}],
    ['example.com:443', ['example.com:443'], {}],
    ['/a?b&c=&=d', ['a'], { '': ['d'], b: [''], c: [''] }],
    ['/a?x=1&x=2&y=3', ['a'], { x: ['1', '2'], y: ['3'] }],
    ['/a?x=%3B%26%3D', ['a'], { x: [';&='] }],
    ['/a??x=1', ['a'], { '?x': ['1'] }],
    ['/%00', ['\u0000'], {}],
    ['/%C3%A9?%C3%A9=%F0%9F%98%80', ['é'], { é: ['😀'] }],
    ['/a?__proto__=1&constructor=2', ['a'], { ['__proto__']: ['1'], constructor: ['2'] }],
  ])('%j is read as opa-envoy-plugin reads it', (target, path, query) => {
    const { parsedPath, parsedQuery } = parsePath(target)
    expect(parsedPath).toEqual(path)
    expect(Object.entries(parsedQuery)).toEqual(expect.arrayContaining(Object.entries(query)))
    expect(Object.keys(parsedQuery)).toHaveLength(Object.keys(query).length)
  })

  it.each([
    '/%zz',
    '/%',
    '/%2',
    '/%ff',
    '/%C0%AF',
    '/%ED%A0%80',
    '/a?x=%zz',
    '/a?%zz=1',
    '/a?x=%ff',
    '/a?x;y=1',
    '/a?x=1&x=1;2',
  ])('%j is refused', target => {
    expect(refused(target)).toBe('path_invalid')
  })

  it('is read, or refused with its reason, whatever it is', () => {
    const unit = fc.constantFrom('/', '%', '2', 'f', 'F', '?', ';', '&', '=', '+', 'é')
    fc.assert(
      fc.property(fc.string({ unit }), target => {
        const reason = refused(target)
        if (reason === 'not refused') {
          const path = decodeURIComponent(target.split('?')[0] as string)
          expect(parsePath(target).parsedPath.join('/')).toBe(path.replace(/^\/+/, ''))
        } else expect(reason).toBe('path_invalid')
      }),
    )
  })
})

it('may have 512 segments and no more, of whatever spelling', () => {
  expect(parsePath(`//${'a/'.repeat(511)}a`).parsedPath).toHaveLength(512)
  expect(refused('/a'.repeat(513))).toBe('path_invalid')
  expect(refused('%2F%61'.repeat(513))).toBe('path_invalid')
  expect(refused('/'.repeat(1000))).toBe('not refused')
  expect(refused(`/a${'/'.repeat(512)}`)).toBe('path_invalid')
})

describe('a query', () => {
  it('may have 2,048 fields and no more, the same over and over included', () => {
    expect(parsePath(`/?${'a&'.repeat(2047)}a`).parsedQuery).toEqual({ a: Array(2048).fill('') })
    expect(refused(`/?${'a&'.repeat(2048)}a`)).toBe('path_invalid')
  })

  it('may have 512 names and no more', () => {
    const query = (names: number) => `/?${Array.from({ length: names }, (_, i) => `n${i}`).join('&')}`
    expect(refused(query(512))).toBe('not refused')
    expect(refused(query(513))).toBe('path_invalid')
  })
})
