package sqltext

import "strings"

// keyword is a word that the grammar knows; none stands for every other word.
type keyword uint8

const (
	none keyword = iota
	kwAbort
	kwAlter
	kwAs
	kwAtomic
	kwAttach
	kwBegin
	kwCall
	kwCase
	kwCommit
	kwCreate
	kwCurrent
	kwData
	kwDeallocate
	kwDeclare
	kwDelete
	kwDetach
	kwDiscard
	kwDo
	kwDrop
	kwEnd
	kwEvent
	kwExec
	kwExecute
	kwExplain
	kwFlush
	kwFor
	kwFunction
	kwGet
	kwGlobal
	kwHandler
	kwIn
	kwIndex
	kwInsert
	kwInto
	kwKey
	kwListen
	kwLoad
	kwLocal
	kwLock
	kwMaterialized
	kwMerge
	kwNo
	kwNot
	kwOf
	kwOn
	kwOr
	kwPackage
	kwPgTemp
	kwPlan
	kwPragma
	kwPrepare
	kwProcedure
	kwQuery
	kwRecursive
	kwRelease
	kwReplace
	kwReset
	kwReturning
	kwRollback
	kwSave
	kwSavepoint
	kwSchema
	kwSelect
	kwSequence
	kwSession
	kwSet
	kwShare
	kwStart
	kwStatistics
	kwTable
	kwTemp
	kwTemporary
	kwThen
	kwTran
	kwTransaction
	kwTrigger
	kwTruncate
	kwUnlisten
	kwUnlock
	kwUpdate
	kwUse
	kwValues
	kwView
	kwWith
	kwWork
	kwXa
	kwXml
)

// spelling is each keyword's, in capitals.
var spelling = [...]string{
	kwAbort:        "ABORT",
	kwAlter:        "ALTER",
	kwAs:           "AS",
	kwAtomic:       "ATOMIC",
	kwAttach:       "ATTACH",
	kwBegin:        "BEGIN",
	kwCall:         "CALL",
	kwCase:         "CASE",
	kwCommit:       "COMMIT",
	kwCreate:       "CREATE",
	kwCurrent:      "CURRENT",
	kwData:         "DATA",
	kwDeallocate:   "DEALLOCATE",
	kwDeclare:      "DECLARE",
	kwDelete:       "DELETE",
	kwDetach:       "DETACH",
	kwDiscard:      "DISCARD",
	kwDo:           "DO",
	kwDrop:         "DROP",
	kwEnd:          "END",
	kwEvent:        "EVENT",
	kwExec:         "EXEC",
	kwExecute:      "EXECUTE",
	kwExplain:      "EXPLAIN",
	kwFlush:        "FLUSH",
	kwFor:          "FOR",
	kwFunction:     "FUNCTION",
	kwGet:          "GET",
	kwGlobal:       "GLOBAL",
	kwHandler:      "HANDLER",
	kwIn:           "IN",
	kwIndex:        "INDEX",
	kwInsert:       "INSERT",
	kwInto:         "INTO",
	kwKey:          "KEY",
	kwListen:       "LISTEN",
	kwLoad:         "LOAD",
	kwLocal:        "LOCAL",
	kwLock:         "LOCK",
	kwMaterialized: "MATERIALIZED",
	kwMerge:        "MERGE",
	kwNo:           "NO",
	kwNot:          "NOT",
	kwOf:           "OF",
	kwOn:           "ON",
	kwOr:           "OR",
	kwPackage:      "PACKAGE",
	kwPgTemp:       "PG_TEMP",
	kwPlan:         "PLAN",
	kwPragma:       "PRAGMA",
	kwPrepare:      "PREPARE",
	kwProcedure:    "PROCEDURE",
	kwQuery:        "QUERY",
	kwRecursive:    "RECURSIVE",
	kwRelease:      "RELEASE",
	kwReplace:      "REPLACE",
	kwReset:        "RESET",
	kwReturning:    "RETURNING",
	kwRollback:     "ROLLBACK",
	kwSave:         "SAVE",
	kwSavepoint:    "SAVEPOINT",
	kwSchema:       "SCHEMA",
	kwSelect:       "SELECT",
	kwSequence:     "SEQUENCE",
	kwSession:      "SESSION",
	kwSet:          "SET",
	kwShare:        "SHARE",
	kwStart:        "START",
	kwStatistics:   "STATISTICS",
	kwTable:        "TABLE",
	kwTemp:         "TEMP",
	kwTemporary:    "TEMPORARY",
	kwThen:         "THEN",
	kwTran:         "TRAN",
	kwTransaction:  "TRANSACTION",
	kwTrigger:      "TRIGGER",
	kwTruncate:     "TRUNCATE",
	kwUnlisten:     "UNLISTEN",
	kwUnlock:       "UNLOCK",
	kwUpdate:       "UPDATE",
	kwUse:          "USE",
	kwValues:       "VALUES",
	kwView:         "VIEW",
	kwWith:         "WITH",
	kwWork:         "WORK",
	kwXa:           "XA",
	kwXml:          "XML",
}

const (
	longestKeyword = len("MATERIALIZED")
	slotCount      = 512
)

// slots is a hash table of the keywords, mostly empty. A keyword whose slot is taken is in the next free one.
var slots = func() (slots [slotCount]keyword) {
	for kw, s := range spelling {
		if s == "" { // none
			continue
		}
		h := slotOf(s[0], s[1], s[len(s)-1], len(s))
		for slots[h] != none {
			h = (h + 1) % slotCount
		}
		slots[h] = keyword(kw)
	}
	return slots
}()

func slotOf(first, second, last byte, n int) uint {
	return (uint(first)*3 + uint(second)*34 + uint(last)*33 + uint(n)*101) % slotCount
}

// lookup finds the keyword that s spells in any letter case. Most words of a statement are none, and find a free slot.
func lookup(s string) keyword {
	if len(s) < 2 || len(s) > longestKeyword {
		return none
	}
	h := slotOf(upper(s[0]), upper(s[1]), upper(s[len(s)-1]), len(s))
	for ; slots[h] != none; h = (h + 1) % slotCount {
		if spells(s, spelling[slots[h]]) {
			return slots[h]
		}
	}
	return none
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		c -= 'a' - 'A'
	}
	return c
}

// spells reports that s is the word, in any letter case.
func spells(s, word string) bool {
	if len(s) != len(word) {
		return false
	}
	for i := range len(s) {
		if upper(s[i]) != word[i] {
			return false
		}
	}
	return true
}

// Mentions reports that a text has a word somewhere, in any case, perhaps in a string or as a part of a longer word. The word is in
// small letters. It is for a quick look before Classify, or where too much does no harm.
func Mentions(text, word string) bool {
	for i := range len(text) - len(word) + 1 {
		if text[i]|' ' == word[0] && strings.EqualFold(text[i:i+len(word)], word) {
			return true
		}
	}
	return false
}
