// The rules that the text form knows: one line a rule. RULE(name) needs a function
//   Mask parse_name(RuleArguments& args);
// in the rule's own file; text, printing, plans and every kernel then know the rule.
#pragma once

#define RAPTLY_MASK_RULES(RULE) \
  RULE(all)                     \
  RULE(causal)                  \
  RULE(lengths)                 \
  RULE(mistral)                 \
  RULE(prefix)                  \
  RULE(window)
