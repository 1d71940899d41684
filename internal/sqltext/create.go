package sqltext

import "strings"

// create reads CREATE, and for Generic also ALTER, until it is known whether the new object is temporary and whether it has
// a body with semicolons in it.
func (s *scanner) create() Class {
	class := Unknown
	for noun := false; ; {
		s.advance()
		if s.done() {
			return class
		}
		switch s.tok.kw {
		case kwTemp, kwTemporary:
			switch s.prev.kw {
			case kwCreate, kwReplace, kwGlobal, kwLocal:
				class = Session
			}
		case kwTable, kwView, kwIndex, kwSequence, kwSchema:
			noun = true
		case kwTrigger, kwFunction, kwProcedure, kwPackage, kwEvent:
			if !noun {
				noun, s.mute = true, true
			}
		}
		if s.peek.kind == '.' && s.dialect.temporary(s.name()) {
			class = Session
		}
		if noun && (s.tok.kind == '(' || s.tok.kw == kwAs || s.tok.kw == kwOn) {
			break
		}
	}
	if s.mute {
		s.body()
	}
	return class
}

// temporary says that a schema of this name holds temporary objects.
func (d Dialect) temporary(schema string) bool {
	return d != Postgres && strings.EqualFold(schema, "temp") || d != SQLite && strings.EqualFold(schema, "pg_temp")
}

// body skips the rest of a statement that makes a trigger or routine.
func (s *scanner) body() {
	switch s.dialect {
	case SQLite:
		// As sqlite3_complete does: the end of a trigger is "; END ;".
		const inside, semicolon, last = 0, 1, 2
		for at := inside; s.tok.kind != end; s.advance() {
			switch {
			case s.tok.kind == ';' && at == last:
				return
			case s.tok.kind == ';':
				at = semicolon
			case s.tok.kw == kwEnd && at == semicolon:
				at = last
			default:
				at = inside
			}
		}
	case Postgres:
		// As psql does: semicolons in BEGIN ATOMIC ... END do not count, and a CASE has an END too.
		for depth := 0; s.tok.kind != end; s.advance() {
			switch {
			case s.tok.kind == ';' && depth == 0:
				return
			case s.tok.kw == kwBegin && (depth > 0 || s.peek.kw == kwAtomic), s.tok.kw == kwCase && depth > 0:
				depth++
			case s.tok.kw == kwEnd && depth > 0:
				depth--
			}
		}
	default:
		for s.tok.kind != end {
			s.advance()
		}
	}
}
