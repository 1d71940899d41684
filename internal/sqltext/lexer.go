package sqltext

import (
	"strings"
	"unicode/utf8"
)

// kind is the kind of a token. A value below word is the byte of a punctuation mark that stands for itself, or 0 at the end.
type kind uint8

const (
	end kind = 0

	word    kind = 0x80 + iota // bare identifier or keyword
	quoted                     // quoted identifier
	literal                    // string
	number
	param // ?1 :a @a $a, $1
)

// token is a stretch of the source.
type token struct {
	kind        kind
	kw          keyword // of a word
	start, stop int
}

// lexer cuts a text into tokens by the rules of a dialect. It looks at every byte a bounded number of times and makes no
// allocation.
//
// It never fails. Instead it notes two degrees of doubt. odd: the text holds a token that no ordinary statement has, so do
// not batch it. torn: the tokens themselves may lie elsewhere than where the lexer found them.
type lexer struct {
	src     string
	dialect Dialect
	pos     int
	odd     bool
	torn    bool
	tornAt  int // where doubt began, if torn
}

func newLexer(d Dialect, src string) lexer {
	l := lexer{src: src, dialect: d}
	// A driver in C ends the text at a NUL.
	if strings.IndexByte(src, 0) >= 0 {
		l.odd = true
	}
	// In some multi-byte encodings a quote or backslash is the second half of a character.
	if !utf8.ValidString(src) {
		for i, r := range src {
			if _, size := utf8.DecodeRuneInString(src[i:]); r == utf8.RuneError && size == 1 {
				l.tear(i)
				break
			}
		}
	}
	return l
}

// tear notes that from byte at on the tokens are in doubt. SQLite's never are: there is one SQLite.
func (l *lexer) tear(at int) {
	l.odd = true
	if l.dialect != SQLite && (!l.torn || at < l.tornAt) {
		l.torn, l.tornAt = true, at
	}
}

// next returns the next token, or one of kind end, again and again, at the end of the text.
func (l *lexer) next() token {
	l.skipBlank()
	start := l.pos
	if start >= len(l.src) {
		return token{kind: end, start: start, stop: start}
	}
	c := l.src[start]
	if charClass[c]&wordStart != 0 {
		return l.word()
	}
	t := token{kind: kind(c), start: start}
	l.pos++
	switch c {
	case '\'':
		t.kind = literal
		l.skipQuoted('\'')
	case '"':
		t.kind = quoted
		l.skipQuoted('"')
	case '`':
		t.kind = l.backtick()
	case '[':
		t.kind = l.bracket()
	case '$':
		t.kind = l.dollar()
	case '?':
		t.kind = param
		if l.dialect == SQLite {
			l.skipClass(digit)
		}
	case ':', '@':
		if l.dialect == SQLite {
			t.kind = param
			l.variable()
		}
	case '#':
		switch l.dialect {
		case Generic:
			l.tear(start) // MySQL's comment, PostgreSQL's operator, SQL Server's temporary table
		case SQLite:
			l.odd = true
			l.variable()
		}
	case '.', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		if c != '.' || l.peekClass(digit) {
			t.kind = number
			l.pos = start
			l.number()
		}
	case '(', ')', ',', ';', '=', '<', '>', '!', '+', '-', '*', '/', '%', '&', '|', '~', '^', ']':
	default: // control characters, braces, a backslash
		l.odd = true
	}
	t.stop = l.pos
	return t
}

// word reads an identifier or keyword, and the string that an immediately preceding letter is a prefix of.
func (l *lexer) word() token {
	t := token{kind: word, start: l.pos}
	wide := false
	for l.pos < len(l.src) {
		class := charClass[l.src[l.pos]]
		if class&wordPart == 0 {
			break
		}
		wide = wide || class&high != 0
		l.pos++
	}
	t.stop = l.pos
	text := l.src[t.start:t.stop]
	if wide {
		if strings.Contains(text, bom) {
			l.odd = true
		}
		return t
	}
	if l.pos < len(l.src) && l.src[l.pos] == '\'' && l.prefix(text) {
		t.kind, t.stop = literal, l.pos
		return t
	}
	if l.dialect == Postgres && len(text) == 1 && text[0]|0x20 == 'u' && strings.HasPrefix(l.src[l.pos:], `&"`) {
		// U&"..." spells an identifier with escapes, and the lexer does not decode it.
		body := l.pos + 2
		l.pos = body
		l.skipQuoted('"')
		if strings.IndexByte(l.src[body:l.pos], '\\') >= 0 {
			l.odd = true
		}
		t.kind, t.stop = quoted, l.pos
		return t
	}
	t.kw = lookup(text)
	return t
}

// prefix reads the string that follows the word p without a space, if p changes how the string is read.
func (l *lexer) prefix(p string) bool {
	switch l.dialect {
	case Postgres:
		if len(p) == 1 && p[0]|0x20 == 'e' {
			l.pos++
			l.skipEscaped()
			return true
		}
	case Generic:
		if p[len(p)-1]|0x20 == 'q' && len(p) <= 2 {
			l.tear(l.pos) // Oracle's q'[it's]'
		}
	}
	return false
}
