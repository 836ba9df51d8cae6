// A parsed template.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja_value.h"

namespace raptly::jinja {

inline constexpr int kMaxDepth = 128;  // of expressions in expressions, and of blocks in blocks

enum class ExprKind {
  kConstant,     // constant
  kName,         // name
  kList,         // args
  kTuple,        // args
  kDict,         // args: key, value, key, value ...
  kAttribute,    // args[0].name
  kItem,         // args[0][args[1]]
  kSlice,        // args[0][args[1]:args[2]:args[3]], null where left out
  kLoop,         // loop.name
  kCall,         // name(args, named)
  kMethod,       // args[0].name(args[1...], named)
  kFilter,       // args[0] | name(args[1...], named)
  kTest,         // args[0] is name(args[1...], named)
  kNot,          // not args[0]
  kNegate,       // -args[0]
  kPlus,         // +args[0]
  kAnd,          // args[0] and args[1]
  kOr,           // args[0] or args[1]
  kBinary,       // args[0] op args[1]
  kCompare,      // args[0] ops[0] args[1] ops[1] args[2] ..., as Python chains them
  kConcat,       // args[0] ~ args[1] ~ ...
  kConditional,  // args[0] if args[1] else args[2] (null: undefined)
};

enum class BinaryOp { kAdd, kSubtract, kMultiply, kDivide, kFloorDivide, kModulo };
enum class CompareOp { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kIn, kNotIn };

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Expr {
  ExprKind kind = ExprKind::kConstant;
  int line = 0;
  int depth = 1;  // of the tree below
  std::string name;
  Value constant;
  BinaryOp op = BinaryOp::kAdd;
  std::vector<CompareOp> compare_ops;
  std::vector<ExprPtr> args;
  std::vector<std::pair<std::string, ExprPtr>> named;
};

enum class StatementKind {
  kText,        // text
  kOutput,      // {{ expr }}
  kIf,          // branches: condition (null: else), body
  kFor,         // targets in expr if condition: body, else_body
  kSet,         // targets = expr
  kSetBlock,    // {% set target | filters %} body; expr: the filters over kName "", or null
  kMacro,       // name, parameters: body
  kGeneration,  // transformers' marker around what the assistant says: body
  kBreak,
  kContinue,
};

struct Statement;
using Body = std::vector<Statement>;

// a name, or namespace.attribute
struct Target {
  std::string name;
  std::string attribute;
};

struct Branch {
  ExprPtr condition;
  Body body;
};

struct Parameter {
  std::string name;
  ExprPtr fallback;  // null: undefined when not given
};

struct Statement {
  StatementKind kind = StatementKind::kText;
  int line = 0;
  std::string text;  // or a macro's name
  ExprPtr expr;
  ExprPtr condition;
  bool unpack = false;  // targets is a tuple
  std::vector<Target> targets;
  std::vector<Parameter> parameters;
  std::vector<Branch> branches;
  Body body;
  Body else_body;
};

// Throws kInvalidArgument (broken syntax) and kNotSupported (outside the subset), naming the line.
Body parse(std::string_view source);

}  // namespace raptly::jinja
