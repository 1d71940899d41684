package sqltext

import "strings"

// skipQuoted skips the rest of a quotation in which only the quote itself is special: it is doubled.
func (l *lexer) skipQuoted(quote byte) {
	// But PostgreSQL reads a backslash in '...' by standard_conforming_strings, MySQL by NO_BACKSLASH_ESCAPES.
	wary := l.dialect == Generic || l.dialect == Postgres && quote == '\''
	for {
		rest := l.src[l.pos:]
		n := strings.IndexByte(rest, quote)
		if n < 0 {
			n = len(rest)
			l.odd = true
		}
		if wary {
			if i := strings.IndexByte(rest[:n], '\\'); i >= 0 {
				l.tear(l.pos + i)
			}
		}
		l.pos += n
		if n == len(rest) {
			return
		}
		l.pos++
		if l.pos == len(l.src) || l.src[l.pos] != quote {
			return
		}
		l.pos++
	}
}

// backtick reads what a ` begins, which has been read: an identifier in SQLite and MySQL.
func (l *lexer) backtick() kind {
	switch l.dialect {
	case Postgres:
		return '`'
	case Generic:
		l.tear(l.pos - 1)
	}
	l.skipQuoted('`')
	return quoted
}

// bracket reads what a [ begins, which has been read: an identifier in SQLite and SQL Server.
func (l *lexer) bracket() kind {
	switch l.dialect {
	case Postgres:
		return '['
	case Generic:
		l.tear(l.pos - 1)
		return '['
	}
	if n := strings.IndexByte(l.src[l.pos:], ']'); n >= 0 {
		l.pos += n + 1
	} else {
		l.odd, l.pos = true, len(l.src)
	}
	return quoted
}

// skipEscaped skips the rest of PostgreSQL's E'it\'s'.
func (l *lexer) skipEscaped() {
	for l.pos < len(l.src) {
		switch c := l.src[l.pos]; {
		case c == '\\' && l.pos+1 < len(l.src):
			l.pos++
		case c == '\'':
			if !strings.HasPrefix(l.src[l.pos:], "''") {
				l.pos++
				return
			}
			l.pos++
		}
		l.pos++
	}
	l.odd = true
}

// dollar reads what a $ begins. The $ has been read.
func (l *lexer) dollar() kind {
	start := l.pos - 1
	if l.dialect == SQLite {
		l.variable()
		return param
	}
	if l.peekClass(digit) {
		l.skipClass(digit)
		// Before PostgreSQL 15, $1and was two tokens; and $1$tag$ would be two in PostgreSQL only.
		if l.peekClass(wordStart) || l.dialect == Generic && l.peekClass(wordPart) {
			l.tear(start)
		}
		return param
	}
	if l.dialect == Generic {
		l.tear(start)
	}
	// $tag$ ... $tag$. A tag holds no $.
	i := l.pos
	if i < len(l.src) && charClass[l.src[i]]&wordStart != 0 {
		for i < len(l.src) && l.src[i] != '$' && charClass[l.src[i]]&wordPart != 0 {
			i++
		}
	}
	if i == len(l.src) || l.src[i] != '$' {
		l.odd = true
		return '$'
	}
	tag := l.src[start : i+1]
	l.pos = i + 1
	if n := strings.Index(l.src[l.pos:], tag); n >= 0 {
		l.pos += n + len(tag)
	} else {
		l.odd, l.pos = true, len(l.src)
	}
	return literal
}

// variable reads the rest of one of SQLite's parameters: :a, @a, $a, and as in Tcl $a::b(c).
func (l *lexer) variable() {
	n := 0
	for ; l.pos < len(l.src); l.pos++ {
		c := l.src[l.pos]
		switch {
		case charClass[c]&wordPart != 0:
			n++
			continue
		case c == ':' && strings.HasPrefix(l.src[l.pos:], "::"):
			l.pos++
			continue
		case c == '(' && n > 0:
			for l.pos++; l.pos < len(l.src) && l.src[l.pos] != ')'; l.pos++ {
				if c := l.src[l.pos]; c == ' ' || c >= '\t' && c <= '\r' {
					l.odd = true
					return
				}
			}
			if l.pos == len(l.src) {
				l.odd = true
				return
			}
			l.pos++
		}
		break
	}
	if n == 0 {
		l.odd = true
	}
}

func (l *lexer) number() {
	if l.src[l.pos] == '0' && l.pos+2 < len(l.src) && l.src[l.pos+1]|0x20 == 'x' && charClass[l.src[l.pos+2]]&hex != 0 {
		l.pos += 2
		l.skipClass(hex | underscore)
	} else {
		l.skipClass(digit | underscore)
		if l.pos < len(l.src) && l.src[l.pos] == '.' {
			l.pos++
			l.skipClass(digit | underscore)
		}
		if l.pos < len(l.src) && l.src[l.pos]|0x20 == 'e' {
			i := l.pos + 1
			if i < len(l.src) && (l.src[i] == '+' || l.src[i] == '-') {
				i++
			}
			if i < len(l.src) && charClass[l.src[i]]&digit != 0 {
				l.pos = i
				l.skipClass(digit | underscore)
			}
		}
	}
	// 1a is one token, two tokens, or an error.
	if l.peekClass(wordPart) {
		l.tear(l.pos)
	}
}
