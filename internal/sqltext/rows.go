package sqltext

import (
	"slices"
)

// MostRows is how many rows an INSERT with RETURNING can have at most, as far as its text alone tells for certain, by the rules of
// PostgreSQL; 0 if the text does not tell. The text is one statement.
//
//	INSERT INTO name [AS alias] [(columns)] [OVERRIDING … VALUE] DEFAULT VALUES | VALUES (values) [, (values)]... ON … | RETURNING …
//
// The values must be constants, parameters, casts of these, and a few functions: in a list of one row, any other function or operator
// may stand for a set of rows. Behind the list PostgreSQL allows none that does. What the text does not show is a rule of the table
// that has the INSERT return other rows, and a function of the program's that search_path puts before the server's.
func MostRows(query string) (rows int) {
	if len(query) > maxText {
		return 0
	}
	l := inserted{lexer: newLexer(Postgres, query)}
	l.advance()
	l.advance()
	if !l.skip("INSERT") || !l.skip("INTO") || !l.table() {
		return 0
	}
	switch {
	case l.skip("DEFAULT"):
		if l.skip("VALUES") {
			rows = 1
		}
	case l.skip("VALUES"):
		rows = l.tuples()
	}
	if l.odd || !l.at("ON") && !l.at("RETURNING") {
		return 0
	}
	return rows
}

// inserted reads an INSERT up to the end of its values. Its methods return false where the text is not what they know.
type inserted struct {
	lexer
	tok, peek token
}

func (l *inserted) advance() { l.tok, l.peek = l.peek, l.lexer.next() }

func (l *inserted) at(name string) bool {
	return l.tok.kind == word && spells(l.src[l.tok.start:l.tok.stop], name)
}

func (l *inserted) skip(name string) bool { return l.at(name) && l.pass(word) }

// pass skips a token of one of the kinds.
func (l *inserted) pass(kinds ...kind) bool {
	ok := slices.Contains(kinds, l.tok.kind)
	if ok {
		l.advance()
	}
	return ok
}

// name reads a name, perhaps with its schema.
func (l *inserted) name() bool {
	for l.pass(word, quoted) {
		if !l.pass('.') {
			return true
		}
	}
	return false
}

// table reads what stands between INTO and the values.
func (l *inserted) table() bool {
	if !l.name() || l.skip("AS") && !l.name() {
		return false
	}
	if l.pass('(') {
		for l.pass(word, quoted, ',', '.', '[', ']', number) {
		}
		if !l.pass(')') {
			return false
		}
	}
	return !l.skip("OVERRIDING") || l.pass(word) && l.skip("VALUE")
}

// tuples reads the lists of values, and counts them.
func (l *inserted) tuples() (n int) {
	for {
		if !l.pass('(') || !l.values(')') {
			return 0
		}
		n++
		if !l.pass(',') {
			return n
		}
	}
}

// values reads a list of values and what closes it.
func (l *inserted) values(closing kind) bool {
	for l.value() {
		if l.pass(closing) {
			return true
		}
		if !l.pass(',') {
			return false
		}
	}
	return false
}

// single are functions whose value is never a set.
var single = []string{"COALESCE", "NULLIF", "GREATEST", "LEAST", "NOW", "CLOCK_TIMESTAMP", "STATEMENT_TIMESTAMP", "GEN_RANDOM_UUID", "NEXTVAL"}

// constants are words that are values.
var constants = []string{"NULL", "DEFAULT", "TRUE", "FALSE", "CURRENT_TIMESTAMP", "CURRENT_DATE", "CURRENT_TIME", "LOCALTIMESTAMP", "LOCALTIME", "CURRENT_USER"}

// value reads one value.
func (l *inserted) value() bool {
	switch {
	case l.tok.kind == word && l.peek.kind == '(':
		if !slices.ContainsFunc(single, l.skip) || !l.pass('(') || !l.pass(')') && !l.values(')') {
			return false
		}
	case l.tok.kind == word && l.peek.kind == literal: // DATE '2024-02-29'
		l.advance()
		l.advance()
	case l.skip("ARRAY"):
		if !l.pass('[') || !l.pass(']') && !l.values(']') {
			return false
		}
	case l.pass('-'), l.pass('+'):
		if !l.pass(number) {
			return false
		}
	case l.pass(param, literal, number), slices.ContainsFunc(constants, l.skip):
	default:
		return false
	}
	for l.pass(':') {
		if !l.pass(':') || !l.typeName() {
			return false
		}
	}
	return true
}

// furtherWords are those behind the first one of a type's name.
var furtherWords = []string{"PRECISION", "VARYING", "WITH", "WITHOUT", "TIME", "ZONE"}

// typeName reads the name of a type, as timestamp(3) with time zone or s.kind[].
func (l *inserted) typeName() bool {
	if !l.name() {
		return false
	}
	for slices.ContainsFunc(furtherWords, l.skip) {
	}
	if l.pass('(') {
		for l.pass(number, ',') {
		}
		if !l.pass(')') {
			return false
		}
	}
	for slices.ContainsFunc(furtherWords, l.skip) || l.pass('[', ']', number) {
	}
	return true
}
