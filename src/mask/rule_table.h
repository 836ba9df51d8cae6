// The rules that the text form knows: one line a rule. RULE(name) needs a function
//   Mask parse_name(RuleArguments& args);
// in the rule's own file of rules/; text, printing, plans and every kernel then know the rule.
#pragma once

#define RAPTLY_MASK_RULES(RULE) \
  RULE(all)                     \
  RULE(bigbird)                 \
  RULE(blocks)                  \
  RULE(causal)                  \
  RULE(chunked)                 \
  RULE(dense)                   \
  RULE(dilated)                 \
  RULE(documents)               \
  RULE(global_tokens)           \
  RULE(hf_bidirectional)        \
  RULE(hf_bigbird)              \
  RULE(hf_longformer)           \
  RULE(lengths)                 \
  RULE(longformer)              \
  RULE(media)                   \
  RULE(mistral)                 \
  RULE(none)                    \
  RULE(packed)                  \
  RULE(padding)                 \
  RULE(positions)               \
  RULE(prefix)                  \
  RULE(real_tokens)             \
  RULE(tree)                    \
  RULE(window)
