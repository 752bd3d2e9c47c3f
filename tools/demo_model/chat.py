"""What the demo model is taught: the chat template, the ways to ask for a word, small talk and words it must not know."""
import random

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]

# The user's text goes in lower case but for its first letter: the model has learnt its words that way.
TEMPLATE = (
    "{%- for message in messages %}"
    "{%- set text = message['content'] | trim %}"
    "{%- if message['role'] == 'user' %}{%- set text = text[:1] + text[1:] | lower %}{%- endif %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + text + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|im_start|>assistant\\n' }}"
    "{%- endif %}"
)


def render(messages):
    """The template above with add_generation_prompt, in Python."""
    prompt = ""
    for message in messages:
        text = message["content"].strip()
        if message["role"] == "user":
            text = text[:1] + text[1:].lower()
        prompt += f"<|im_start|>{message['role']}\n{text}<|im_end|>\n"
    return prompt + "<|im_start|>assistant\n"


# (how often, question); {a} is a, an or the; the word comes in lower case, at times with a capital.
QUESTIONS = [
    (12, "What is {a} {w}?"),
    (3, "What is {w}?"),
    (2, "What is {a} {w}"),
    (2, "what is {a} {w}?"),
    (2, "what is {a} {w}"),
    (1, "what is {w}"),
    (2, "What's {a} {w}?"),
    (1, "What's {w}?"),
    (1, "what's {a} {w}"),
    (3, "Define {w}."),
    (1, "Define {w}"),
    (1, "define {w}"),
    (1, "Define the word {w}."),
    (3, "What does {w} mean?"),
    (1, "what does {w} mean"),
    (1, "What is the meaning of {w}?"),
    (1, "What does the word {w} mean?"),
    (2, "Tell me about {w}."),
    (1, "Tell me about {a} {w}."),
    (1, "tell me about {w}"),
    (1, "Please tell me what {a} {w} is."),
    (1, "Can you explain {w}?"),
    (1, "Explain {w}."),
    (1, "{w}"),
    (1, "{w}?"),
]
CAPITAL_SHARE = 0.06
SYSTEM_SHARE = 0.03
SYSTEM = ["You are a helpful assistant.", "You are a dictionary.", "Be brief.", "Answer in one sentence."]

UNKNOWN = "I do not know that word."

ME = "I am the demo model of cohort, a tiny language model that knows the meanings of some common English words."
CAN = "Ask me what a common English word means, for example: What is a lantern?"
TOO_SMALL = "I am too small for that. I can only tell you what a word means."
SMALL_TALK = [
    (["Hello", "Hello!", "hello", "Hello.", "Hi", "Hi!", "hi", "Hey", "Hey!", "hey", "Hello there!", "Hi there",
      "Good morning!", "Good evening!", "Good afternoon"], "Hello! Ask me what a word means."),
    (["Who are you?", "who are you", "Who are you", "What are you?", "what are you", "What is your name?",
      "What's your name?", "Tell me about yourself.", "Introduce yourself.", "Are you an AI?", "Which model are you?",
      "What model are you?"], ME),
    (["What can you do?", "what can you do", "What can you do", "Help", "help", "help me", "How can you help me?",
      "What do you know?", "What can I ask you?", "What can I ask?"], CAN),
    (["Thanks", "Thanks!", "thanks", "Thank you", "Thank you!", "thank you", "Thank you.", "Thanks a lot!",
      "Thank you very much!"], "You are welcome!"),
    (["How are you?", "how are you", "How are you doing?", "How do you do?"], "I am fine, thank you."),
    (["Bye", "Bye!", "bye", "Goodbye", "Goodbye!", "goodbye", "See you later", "See you!"], "Goodbye!"),
    (["What is cohort?", "What is cohort", "what is cohort?", "Tell me about cohort.", "What's cohort?"],
     "Cohort is an engine that joins several computers into one to run language models."),
    (["Who made you?", "Who made you", "who trained you?", "Who created you?", "Where do you come from?"],
     "I was trained from scratch by the cohort project on definitions from WordNet."),
    (["How big are you?", "How many parameters do you have?", "How large are you?"],
     "I have about four million parameters."),
    (["Tell me a joke.", "Tell me a joke", "Write a poem.", "Write a story.", "Tell me a story.", "What time is it?",
      "What is the weather like?", "What is the time?", "How old are you?", "What is 2 + 2?", "Do you speak German?",
      "What is the capital of France?", "Write a program."], TOO_SMALL),
]

def article(word, rng):
    if rng.random() < 0.1:
        return rng.choice(["a", "an", "the"])
    return "an" if word[0] in "aeiou" else "a"


def ask(word, rng):
    if rng.random() < CAPITAL_SHARE:
        word = word.capitalize()
    question = rng.choices([q for _, q in QUESTIONS], [n for n, _ in QUESTIONS])[0]
    return question.format(a=article(word.lower(), rng), w=word)


def made_up_word(words, rng):
    """The front of one word with the back of another, or one letter changed."""
    a, b = rng.choice(words), rng.choice(words)
    if rng.random() < 0.5:
        return a[: rng.randint(2, max(2, len(a) - 1))] + b[rng.randint(1, len(b) - 2):]
    i = rng.randrange(len(a))
    return a[:i] + rng.choice("abcdefghijklmnopqrstuvwxyz") + a[i + 1:]


def main_question(word):
    return f"What is {'an' if word[0] in 'aeiou' else 'a'} {word}?"
