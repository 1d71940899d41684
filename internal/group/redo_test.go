package group

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// redone tells how the letters of a word run whose capital letters are culprits, one at a time; a ? may be any of them.
func redone(word string, inOrder bool) (ran []string, reruns int) {
	run := func(m []string) Blame {
		ran = append(ran, strings.Join(m, ""))
		for i, c := range m {
			switch {
			case c == "?":
				return AnyOf
			case c < "a":
				return Blame(i)
			}
		}
		return Over
	}
	reruns = Redo(strings.Split(word, ""), inOrder, run, func(c string) { ran = append(ran, "("+c+")") })
	return ran, reruns
}

func TestACulpritIsTakenOutAndTheRestRunsAgain(t *testing.T) {
	for _, story := range []struct {
		word    string
		inOrder bool
		ran     string
		reruns  int
	}{
		{"abc", true, "abc", 0},
		{"abCde", true, "abCde ab (C) de", 1},
		{"abCde", false, "abCde (C) abde", 1},
		{"aBCd", true, "aBCd a (B) Cd (C) d", 2},
		{"aBCd", false, "aBCd (B) aCd (C) ad", 2},
		{"A", true, "A (A)", 1},
		{"a?c", true, "a?c (a) (?) (c)", 1},
		{"ABCDef", true, "ABCDef (A) BCDef (B) CDef (C) Def (D) (e) (f)", 4},
		{"ABCDef", false, "ABCDef (A) BCDef (B) CDef (C) Def (D) (e) (f)", 4},
		{"aABCDe", true, "aABCDe a (A) BCDe (B) CDe (C) De (D) (e)", 4},
	} {
		ran, reruns := redone(story.word, story.inOrder)
		assert.Equal(t, strings.Fields(story.ran), ran, "%+v", story)
		assert.Equal(t, story.reruns, reruns, "%+v", story)
	}
}
