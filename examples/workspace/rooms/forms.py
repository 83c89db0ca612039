from django import forms

from rooms.models import Room


class RoomForm(forms.ModelForm):
    """A room's name, topic, and who may come in."""

    is_open = forms.TypedChoiceField(
        label="Who may come in",
        choices=[("1", "Everybody may join"), ("", "By invitation")],
        coerce=bool,
        empty_value=False,
        required=False,
        initial="1",
        widget=forms.RadioSelect,
    )

    class Meta:
        model = Room
        fields = ["name", "topic", "is_open"]

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, label_suffix="", **kwargs)
        if self.instance.pk:
            self.initial["is_open"] = "1" if self.instance.is_open else ""

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if not any(character.isalnum() for character in name):
            raise forms.ValidationError("A name has letters in it.")
        return name
