package sqltext

import (
	"slices"
	"strconv"
	"strings"
)

// A PlainInsert is a statement that is exactly INSERT INTO table (columns) VALUES (row), as PostgreSQL reads it, where each
// value is a parameter or a literal. The same statement with several rows inserts the same, if the table's own code cannot
// tell: no value depends on when it is evaluated, and none has a type of its own.
type PlainInsert struct {
	Table  string // its name, with its schema if the text has that; without blanks
	Params int    // they are $1 to this one, and each is used

	head, tail string // what stands before the row, and behind it
	row        []rowPiece
}

// rowPiece is a piece of the row, and the parameter behind it; 0: none, at the row's end.
type rowPiece struct {
	text  string
	param int
}

// maxParams is the protocol's bound.
const maxParams = 1<<16 - 1

// PlainInsertOf returns what query is if it is a [PlainInsert], or else nil.
func PlainInsertOf(query string) *PlainInsert {
	r := insertReader{lexer: newLexer(Postgres, query)}
	r.tok = r.next()
	p := new(PlainInsert)
	if !r.is(kwInsert) || !r.is(kwInto) || !r.table(p) || !r.columns() || !r.is(kwValues) || !r.values(p) {
		return nil
	}
	p.tail = query[r.stopped:]
	r.mark(';')
	if r.tok.kind != end || r.odd || r.torn {
		return nil
	}
	return p
}

// Rows is the statement with n rows. The parameters of row i are those of the first one, counted on from i times Params.
func (p *PlainInsert) Rows(n int) string {
	var b strings.Builder
	b.WriteString(p.head)
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		for _, piece := range p.row {
			b.WriteString(piece.text)
			if piece.param > 0 {
				b.WriteByte('$')
				b.WriteString(strconv.Itoa(i*p.Params + piece.param))
			}
		}
	}
	b.WriteString(p.tail)
	return b.String()
}

// insertReader reads a PlainInsert token by token. Its methods report whether the text goes on as they ask.
type insertReader struct {
	lexer
	tok     token
	stopped int // where the token before tok ends
}

func (r *insertReader) advance() {
	r.stopped = r.tok.stop
	r.tok = r.next()
}

func (r *insertReader) is(kw keyword) bool {
	ok := r.tok.kind == word && r.tok.kw == kw
	r.advance()
	return ok
}

func (r *insertReader) mark(k kind) bool {
	ok := r.tok.kind == k
	if ok {
		r.advance()
	}
	return ok
}

// name reads an identifier. One with escapes (U&"…") is not read, because a cast to regclass reads it in another way.
func (r *insertReader) name() (string, bool) {
	text := r.src[r.tok.start:r.tok.stop]
	ok := r.tok.kind == word || r.tok.kind == quoted && text[0] == '"'
	r.advance()
	return text, ok
}

func (r *insertReader) table(p *PlainInsert) (ok bool) {
	if p.Table, ok = r.name(); ok && r.mark('.') {
		var in string
		in, ok = r.name()
		p.Table += "." + in
	}
	return ok
}

func (r *insertReader) columns() bool {
	if !r.mark('(') {
		return false
	}
	for {
		if _, ok := r.name(); !ok {
			return false
		}
		if !r.mark(',') {
			return r.mark(')')
		}
	}
}

// values reads the row, and what stands before it into p.
func (r *insertReader) values(p *PlainInsert) bool {
	from := r.tok.start
	p.head = r.src[:from]
	if !r.mark('(') {
		return false
	}
	used := make(map[int]bool)
	for {
		switch r.tok.kind {
		case param:
			n, err := strconv.Atoi(r.src[r.tok.start+1 : r.tok.stop])
			if err != nil || n < 1 || n > maxParams {
				return false
			}
			used[n] = true
			p.Params = max(p.Params, n)
			p.row = append(p.row, rowPiece{r.src[from:r.tok.start], n})
			from = r.tok.stop
			r.advance()
		default:
			if !r.literal() {
				return false
			}
		}
		if r.mark(',') {
			continue
		}
		if !r.mark(')') {
			return false
		}
		p.row = append(p.row, rowPiece{text: r.src[from:r.stopped]})
		return p.Params > 0 && len(used) == p.Params
	}
}

// timeWords mean the moment at which the statement is prepared, in a literal of a date or a time.
var timeWords = []string{"now", "today", "tomorrow", "yesterday"}

func (r *insertReader) literal() bool {
	for r.mark('-') || r.mark('+') {
		if r.tok.kind != number {
			return false
		}
	}
	text := strings.ToLower(r.src[r.tok.start:r.tok.stop])
	ok := false
	switch r.tok.kind {
	case number:
		ok = true
	case word:
		ok = slices.Contains([]string{"null", "true", "false"}, text)
	case literal:
		ok = text[0] == '\'' && !slices.ContainsFunc(timeWords, func(w string) bool { return strings.Contains(text, w) })
	}
	r.advance()
	return ok
}
