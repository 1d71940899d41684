package sqltext

import "strings"

const bom = "\uFEFF"

// Classes of bytes, as bits of charClass.
const (
	wordStart  = 1 << iota // may begin an identifier
	wordPart               // may continue one
	high                   // not ASCII
	blank                  // white space to every dialect
	digit                  //
	hex                    //
	underscore             // the separator of digits
)

var charClass = func() (class [256]uint8) {
	for c := 'a'; c <= 'z'; c++ {
		class[c] |= wordStart | wordPart
		class[c-0x20] |= wordStart | wordPart
	}
	for c := 'a'; c <= 'f'; c++ {
		class[c] |= hex
		class[c-0x20] |= hex
	}
	for c := '0'; c <= '9'; c++ {
		class[c] |= wordPart | digit | hex
	}
	for c := 0x80; c <= 0xff; c++ {
		class[c] |= wordStart | wordPart | high
	}
	for _, c := range " \t\n\f\r" {
		class[c] |= blank
	}
	class['_'] |= wordStart | wordPart | underscore
	class['$'] |= wordPart
	return class
}()

func (l *lexer) peekClass(class uint8) bool {
	return l.pos < len(l.src) && charClass[l.src[l.pos]]&class != 0
}

func (l *lexer) skipClass(class uint8) {
	for l.peekClass(class) {
		l.pos++
	}
}

// skipBlank skips white space and comments.
func (l *lexer) skipBlank() {
	for l.pos < len(l.src) {
		switch c := l.src[l.pos]; {
		case charClass[c]&blank != 0:
			l.pos++
		case c == '-' && strings.HasPrefix(l.src[l.pos:], "--"):
			l.skipLineComment()
		case c == '/' && strings.HasPrefix(l.src[l.pos:], "/*"):
			l.skipBlockComment()
		case c == '\v': // white space in some databases
			l.odd = true
			l.pos++
		case c == bom[0] && strings.HasPrefix(l.src[l.pos:], bom):
			l.odd = true
			l.pos += len(bom)
		default:
			return
		}
	}
}

// skipLineComment skips from -- to the end of the line: at \n in SQLite, at \r or \n in PostgreSQL. In MySQL, -- begins a
// comment only if white space follows.
func (l *lexer) skipLineComment() {
	start := l.pos
	l.pos += 2
	if l.dialect == Generic && l.pos < len(l.src) && !l.peekClass(blank) {
		l.tear(start)
	}
	for ; l.pos < len(l.src); l.pos++ {
		switch l.src[l.pos] {
		case '\n':
			return
		case '\r':
			if l.dialect == Postgres {
				return
			}
			if l.dialect == Generic && !strings.HasPrefix(l.src[l.pos:], "\r\n") {
				l.tear(l.pos)
			}
		}
	}
}

// skipBlockComment skips from /* to */, or to the end of the text. PostgreSQL's comments nest. MySQL executes the text in
// /*! */, and MariaDB that in /*M! */, so Generic reads it as if the marks were white space.
func (l *lexer) skipBlockComment() {
	start := l.pos
	l.pos += 2
	if l.dialect == Generic {
		rest := l.src[l.pos:]
		if strings.HasPrefix(rest, "!") || strings.HasPrefix(rest, "M!") {
			l.tear(start)
			l.pos += strings.IndexByte(rest, '!') + 1
			l.skipClass(digit)
			return
		}
	}
	for depth := 1; l.pos+1 < len(l.src); l.pos++ {
		switch l.src[l.pos : l.pos+2] {
		case "*/":
			l.pos++
			if depth--; depth == 0 {
				l.pos++
				return
			}
		case "/*":
			switch l.dialect {
			case Postgres:
				l.pos++
				depth++
			case Generic:
				l.tear(l.pos)
			}
		}
	}
	l.odd, l.pos = true, len(l.src)
}
