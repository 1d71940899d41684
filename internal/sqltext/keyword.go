package sqltext

// keyword is a word that the grammar knows; none is every other.
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

const longestKeyword = len("MATERIALIZED")

// lookup finds the keyword that s spells in any letter case.
func lookup(s string) keyword {
	if len(s) < 2 || len(s) > longestKeyword {
		return none
	}
	var buf [longestKeyword]byte
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		buf[i] = c
	}
	switch string(buf[:len(s)]) {
	case "ABORT":
		return kwAbort
	case "ALTER":
		return kwAlter
	case "AS":
		return kwAs
	case "ATOMIC":
		return kwAtomic
	case "ATTACH":
		return kwAttach
	case "BEGIN":
		return kwBegin
	case "CALL":
		return kwCall
	case "CASE":
		return kwCase
	case "COMMIT":
		return kwCommit
	case "CREATE":
		return kwCreate
	case "CURRENT":
		return kwCurrent
	case "DATA":
		return kwData
	case "DEALLOCATE":
		return kwDeallocate
	case "DECLARE":
		return kwDeclare
	case "DELETE":
		return kwDelete
	case "DETACH":
		return kwDetach
	case "DISCARD":
		return kwDiscard
	case "DO":
		return kwDo
	case "DROP":
		return kwDrop
	case "END":
		return kwEnd
	case "EVENT":
		return kwEvent
	case "EXEC":
		return kwExec
	case "EXECUTE":
		return kwExecute
	case "EXPLAIN":
		return kwExplain
	case "FLUSH":
		return kwFlush
	case "FOR":
		return kwFor
	case "FUNCTION":
		return kwFunction
	case "GET":
		return kwGet
	case "GLOBAL":
		return kwGlobal
	case "HANDLER":
		return kwHandler
	case "IN":
		return kwIn
	case "INDEX":
		return kwIndex
	case "INSERT":
		return kwInsert
	case "INTO":
		return kwInto
	case "KEY":
		return kwKey
	case "LISTEN":
		return kwListen
	case "LOAD":
		return kwLoad
	case "LOCAL":
		return kwLocal
	case "LOCK":
		return kwLock
	case "MATERIALIZED":
		return kwMaterialized
	case "MERGE":
		return kwMerge
	case "NO":
		return kwNo
	case "NOT":
		return kwNot
	case "OF":
		return kwOf
	case "ON":
		return kwOn
	case "OR":
		return kwOr
	case "PACKAGE":
		return kwPackage
	case "PG_TEMP":
		return kwPgTemp
	case "PLAN":
		return kwPlan
	case "PRAGMA":
		return kwPragma
	case "PREPARE":
		return kwPrepare
	case "PROCEDURE":
		return kwProcedure
	case "QUERY":
		return kwQuery
	case "RECURSIVE":
		return kwRecursive
	case "RELEASE":
		return kwRelease
	case "REPLACE":
		return kwReplace
	case "RESET":
		return kwReset
	case "RETURNING":
		return kwReturning
	case "ROLLBACK":
		return kwRollback
	case "SAVE":
		return kwSave
	case "SAVEPOINT":
		return kwSavepoint
	case "SCHEMA":
		return kwSchema
	case "SELECT":
		return kwSelect
	case "SEQUENCE":
		return kwSequence
	case "SESSION":
		return kwSession
	case "SET":
		return kwSet
	case "SHARE":
		return kwShare
	case "START":
		return kwStart
	case "STATISTICS":
		return kwStatistics
	case "TABLE":
		return kwTable
	case "TEMP":
		return kwTemp
	case "TEMPORARY":
		return kwTemporary
	case "THEN":
		return kwThen
	case "TRAN":
		return kwTran
	case "TRANSACTION":
		return kwTransaction
	case "TRIGGER":
		return kwTrigger
	case "TRUNCATE":
		return kwTruncate
	case "UNLISTEN":
		return kwUnlisten
	case "UNLOCK":
		return kwUnlock
	case "UPDATE":
		return kwUpdate
	case "USE":
		return kwUse
	case "VALUES":
		return kwValues
	case "VIEW":
		return kwView
	case "WITH":
		return kwWith
	case "WORK":
		return kwWork
	case "XA":
		return kwXa
	case "XML":
		return kwXml
	}
	return none
}
